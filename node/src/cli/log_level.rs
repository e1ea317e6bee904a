//! `conclave log-level`.

use std::time::Duration;

use super::admin::Admin;
use crate::admin::api_types::{LogLevel, SetLogLevel};
use crate::config::unit::parse_span;
use crate::exit::Exit;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  conclave log-level                                          what the node logs
  conclave log-level debug --for 10m                          then it is as configured again
  conclave log-level info,conclave_cluster=trace --url http://10.0.0.2:9400

It is about the one node that is asked, and lasts until that starts again at most. log.level is for ever.")]
pub(super) struct Arguments {
    /// off, error, warn, info, debug or trace, perhaps with others for some modules; without it the level is shown
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    /// For so long, a day at most
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_span, requires = "level")]
    lasts: Option<Duration>,
    #[command(flatten)]
    admin: Admin,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    arguments.admin.ask(async |client| {
        let LogLevel { level, configured } = match &arguments.level {
            Some(level) => {
                let seconds = |lasts: Duration| u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX).max(1);
                let set = SetLogLevel { level: level.clone(), for_seconds: arguments.lasts.map(seconds) };
                client.set_log_level(&set).await?
            }
            None => client.log_level().await?,
        };
        Ok(if level == configured {
            format!("{level}\n")
        } else {
            format!("{level}, configured is {configured}\n")
        })
    })
}
