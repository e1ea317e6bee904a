//! How a report is given, and what the command's exit code says of it.

use std::path::PathBuf;

use serde::Serialize;

use super::view::{print_json, write_page};
use super::{BAD, BROKEN, GOOD};
use crate::console::say;

/// The options of every command whose report has a page.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Output {
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
    /// Write the report as a page to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Output {
    /// Prints a report in one way or the other and writes its page if one is wanted; returns the exit code.
    pub(super) fn give<R: Serialize>(
        &self,
        ok: bool,
        report: &R,
        text: impl FnOnce(&R) -> String,
        page: impl FnOnce(&R) -> String,
    ) -> u8 {
        if self.json {
            print_json(report);
        } else {
            say(&text(report));
        }
        if let Some(file) = &self.html
            && !write_page(file, &page(report))
        {
            return BROKEN;
        }
        if ok { GOOD } else { BAD }
    }
}
