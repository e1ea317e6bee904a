//! The server of commands that start nodes of their own.

use std::path::PathBuf;

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The server; the one beside this program if not given
    #[arg(long, value_name = "PATH")]
    conclave: Option<PathBuf>,
}

impl Server {
    /// Its path.
    pub(super) fn path(&self) -> PathBuf {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("conclave"));
        self.conclave.clone().or_else(beside).unwrap_or_else(|| "conclave".into())
    }

    /// The path of a server that is there.
    pub(super) fn binary(&self) -> Result<PathBuf, String> {
        let path = self.path();
        if path.is_file() {
            return Ok(path);
        }
        Err(format!("there is no server at {}: name it with --conclave", path.display()))
    }
}
