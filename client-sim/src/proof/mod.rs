//! Proof: what a cluster promises, checked against what it did.
//!
//! A [`Run`] asks a cluster many things at once, takes down every operation with its start, its end and what came of it,
//! and says whether there is anything among them that the contract does not allow. It knows nothing of the servers but
//! what they say. Modules in reading order: [`history`] is what was said, `workload` what is asked, [`check`] what must
//! hold.

pub mod check;
pub mod history;
mod options;
mod run;
mod verdict;
mod workload;

pub use check::{Findings, Violation, check_file};
pub use options::{Allowance, Family, Options, Terms, Ttls};
pub use run::Run;
pub use verdict::{Event, FamilyVerdict, Outcomes, Verdict};
pub use workload::Audit;
