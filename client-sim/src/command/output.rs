//! How a report is given, and what the command's exit code says of it.

use std::path::PathBuf;

use serde::Serialize;

use super::Verdict;
use super::view::print_json;
use crate::console::say;

/// The option of every command that has a report.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Json {
    /// Print the report as one line of JSON
    #[arg(long = "json")]
    pub(super) wanted: bool,
}

impl Json {
    /// Prints a report in one way or the other.
    pub(super) fn print<R: Serialize>(&self, report: &R, text: impl FnOnce(&R) -> String) {
        if self.wanted {
            print_json(report);
        } else {
            say(&text(report));
        }
    }
}

/// The options of every command whose report has a page.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    #[command(flatten)]
    json: Json,
    /// Write the report as a page to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Output {
    /// Prints a report in one way or the other and writes its page if one is wanted; returns the verdict.
    pub(super) fn give<R: Serialize>(
        &self,
        ok: bool,
        report: &R,
        text: impl FnOnce(&R) -> String,
        page: impl FnOnce(&R) -> String,
    ) -> Verdict {
        self.json.print(report, text);
        if let Some(file) = &self.html {
            std::fs::write(file, page(report)).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(ok)
    }
}
