//! What the proof is told of the cluster it asks.

use super::Options;
use crate::chaos::Schedule;
use crate::client::Target;
use crate::proof;
use crate::units::duration;

/// The load of a schedule. What its nodes are configured with decides what is right, so that the proof is told.
pub(super) fn options(schedule: &Schedule, options: &Options, targets: Vec<Target>) -> proof::Options {
    let mut load = proof::Options {
        targets,
        rate: schedule.rate.unwrap_or(options.rate),
        seed: options.seed,
        ..proof::Options::default()
    };
    if !schedule.families.is_empty() {
        load.families.clone_from(&schedule.families);
    }
    for (key, value) in schedule.settings() {
        let told = match key.as_str() {
            "ttl.chunk" => &mut load.ttls.chunk_ms,
            "ttl.signal" => &mut load.ttls.signal_ms,
            "ttl.register" => &mut load.ttls.register_ms,
            "ttl.session" => &mut load.ttls.session_ms,
            "allowance.tiers.create.window" => &mut load.allowance.window_ms,
            "allowance.tiers.create.limit" => {
                load.allowance.limit = value.parse().unwrap_or(load.allowance.limit);
                continue;
            }
            _ => continue,
        };
        // What is no length of time the nodes refuse themselves.
        *told = duration(&value).map_or(*told, |time| time.as_millis() as u64);
    }
    load
}
