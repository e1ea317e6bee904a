//! What every command that makes load can be told about it.

/// The options of the generator itself.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Generator {
    /// What all content is derived from; random if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    pub(super) threads: usize,
}

impl Generator {
    /// The seed that was given, or another each time.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }
}
