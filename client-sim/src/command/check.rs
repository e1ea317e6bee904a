//! `check`: asks a cluster many things at once and says whether it kept its promises; or judges what was taken down
//! before.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgGroup;
use serde::Serialize;
use tokio::time::Instant;

use super::output::Json;
use super::view::bar;
use super::{Generator, Verdict, answering, duration};
use crate::client::Target;
use crate::proof::{self, Allowance, Family, Findings, Options, Run, Ttls, Violation, check_file};

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["target", "history"])))]
pub(super) struct Args {
    /// Base URLs of the nodes
    #[arg(long, value_delimiter = ',')]
    target: Vec<Target>,
    /// Write the history here; without --target, judge the one that is here
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Operations started a second
    #[arg(long, default_value_t = 500.0, value_parser = positive)]
    rate: f64,
    /// Clients that ask about the same things
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=4096))]
    clients: u64,
    /// How long to ask
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// What to ask about; all that every cluster can be asked about if not given
    #[arg(long, value_enum, value_delimiter = ',')]
    family: Vec<Family>,
    /// How long a client waits for an answer
    #[arg(long, default_value = "5s", value_parser = duration)]
    deadline: Duration,
    /// How long the last look at every node tries to get answers
    #[arg(long, default_value = "20s", value_parser = duration)]
    patience: Duration,
    /// A time to live of the cluster, where it is not the default: chunk, signal, register, session
    #[arg(long, value_name = "NAME=TIME", value_delimiter = ',', value_parser = ttl)]
    ttl: Vec<(String, Duration)>,
    /// How many sessions one client may open in which time, for the family of that name
    #[arg(long, value_name = "LIMIT/TIME", default_value = "1200/60s", value_parser = allowance)]
    allowance: Allowance,
    /// Where the realtime endpoint is
    #[arg(long, default_value = "/api/v1/socket")]
    socket_path: String,
    /// Where pictures of what went wrong are written
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) generator: Generator,
    #[command(flatten)]
    json: Json,
}

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

/// What a history on disk came to.
#[derive(Serialize)]
struct Judged<'a> {
    ok: bool,
    operations: u64,
    keys: u64,
    violations: &'a [Violation],
    violations_beyond: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate > 0.0 && rate.is_finite() { Ok(rate) } else { Err("more than 0 is needed".to_owned()) }
}

const TTLS: [&str; 4] = ["chunk", "signal", "register", "session"];

fn ttl(text: &str) -> Result<(String, Duration), String> {
    let (name, time) = text.split_once('=').ok_or("NAME=TIME is needed")?;
    if !TTLS.contains(&name) {
        return Err(format!("unknown {name:?}; one of {}", TTLS.join(", ")));
    }
    Ok((name.to_owned(), duration(time)?))
}

fn allowance(text: &str) -> Result<Allowance, String> {
    let (limit, time) = text.split_once('/').ok_or("LIMIT/TIME is needed")?;
    let limit = limit.parse().map_err(|_| "the limit is not a number".to_owned())?;
    Ok(Allowance { limit, window_ms: duration(time)?.as_millis() as u64 })
}

impl Args {
    fn ttls(&self) -> Ttls {
        let mut ttls = Ttls::default();
        for (name, time) in &self.ttl {
            let ms = time.as_millis() as u64;
            match name.as_str() {
                "chunk" => ttls.chunk_ms = ms,
                "signal" => ttls.signal_ms = ms,
                "register" => ttls.register_ms = ms,
                _ => ttls.session_ms = ms,
            }
        }
        ttls
    }

    pub(super) async fn run(self) -> Verdict {
        match &self.history {
            Some(history) if self.target.is_empty() => self.judge(history),
            _ => {
                answering(&self.target).await?;
                self.ask().await
            }
        }
    }

    fn judge(&self, history: &Path) -> Verdict {
        let (operations, mut findings) =
            check_file(history).map_err(|error| format!("{}: {error}", history.display()))?;
        self.draw(&mut findings.violations);
        let Findings { violations, beyond, keys } = &findings;
        let keys = keys.values().sum();
        let ok = violations.is_empty();
        let judged = Judged { ok, operations, keys, violations, violations_beyond: *beyond };
        self.json.print(&judged, |_| {
            let end = format!("{operations} operations about {keys} keys: {}\n", word(ok));
            told(violations, *beyond) + &end
        });
        Ok(ok)
    }

    async fn ask(&self) -> Verdict {
        let families = if self.family.is_empty() { Family::DEFAULT.to_vec() } else { self.family.clone() };
        let run = Run::start(Options {
            targets: self.target.clone(),
            rate: self.rate,
            clients: self.clients as usize,
            seed: self.generator.seed(),
            families,
            deadline: self.deadline,
            audit_patience: self.patience,
            ttls: self.ttls(),
            allowance: self.allowance,
            socket_path: self.socket_path.clone(),
            history: self.history.clone(),
        });
        let bar = bar(self.duration);
        let begun = Instant::now();
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                bar.set_position(begun.elapsed().as_millis() as u64);
                bar.set_message(format!("{} answers", run.acknowledged()));
            }
        };
        tokio::select! {
            () = tokio::time::sleep(self.duration) => {}
            // Interrupted, or never to be: either way what was asked so far is judged.
            _ = tokio::signal::ctrl_c() => {}
            () = watch => {}
        }
        bar.set_message("looking at every node");
        let mut verdict = run.finish().await;
        bar.finish_and_clear();
        self.draw(&mut verdict.violations);
        self.json.print(&verdict, summary);
        Ok(verdict.ok)
    }

    /// Writes a picture of each violation, if that is wished.
    fn draw(&self, violations: &mut [Violation]) {
        let Some(out) = &self.out else { return };
        for (number, violation) in violations.iter_mut().enumerate() {
            let path = out.join(format!("violation-{number}.svg"));
            let written = std::fs::create_dir_all(out).and_then(|()| std::fs::write(&path, violation.svg()));
            match written {
                Ok(()) => violation.picture = Some(path.display().to_string()),
                Err(error) => tell!("{}: {error}", path.display()),
            }
        }
    }
}

fn told(violations: &[Violation], beyond: u64) -> String {
    let mut text: String = violations.iter().map(|violation| violation.text() + "\n").collect();
    if beyond > 0 {
        text += &format!("and {beyond} more\n");
    }
    text
}

const fn word(ok: bool) -> &'static str {
    if ok { "every promise was kept" } else { "NOT every promise was kept" }
}

fn summary(verdict: &proof::Verdict) -> String {
    let mut text = told(&verdict.violations, verdict.violations_beyond);
    for (family, told) in &verdict.families {
        let outcomes = told.outcomes;
        text += &format!(
            "{:<10} {:>8} answered {:>6} refused {:>6} unknown {:>6} keys\n",
            family.name(),
            outcomes.answered,
            outcomes.refused,
            outcomes.unknown,
            told.keys
        );
    }
    for family in &verdict.unproven {
        text += &format!("{}: nothing was answered, so nothing is proven\n", family.name());
    }
    if let Some(why) = &verdict.history_failed {
        text += &format!("the history on disk is not whole: {why}\n");
    }
    let audit = &verdict.audit;
    text += &format!(
        "in the end {} things were looked at on every node, {} answers, {} without\n",
        audit.things, audit.answers, audit.unanswered
    );
    text += &format!(
        "{} operations in {:.1} s, seed {}: {}\n",
        verdict.operations,
        verdict.duration_s,
        verdict.seed,
        word(verdict.ok)
    );
    text
}
