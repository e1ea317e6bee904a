//! `conclave version`.

use crate::exit::Exit;
use crate::terminal::print;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let all = serde_json::json!({"name": "conclave", "version": version, "os": os, "arch": arch});
        print(&format!("{all}\n"))
    } else {
        print(&format!("conclave {version}\n"))
    }
}
