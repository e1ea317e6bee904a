//! The schedules that come along: one for each fault of the table in `docs/guarantees.md`.

macro_rules! schedules {
    ($($name:literal),* $(,)?) => {
        /// Their names, as those of their files in `client-sim/schedules/`.
        pub const NAMES: [&str; [$($name),*].len()] = [$($name),*];

        pub(super) fn text(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("../../../schedules/", $name, ".toml"))),)*
                _ => None,
            }
        }
    };
}

schedules![
    "all-killed",
    "allowance-cells",
    "allowance-clock-ahead",
    "allowance-leader-frozen",
    "cell-lost",
    "clock-ahead",
    "clock-behind",
    "disk-full",
    "disk-lost",
    "disk-slow",
    "disk-stalls-10s",
    "disk-stalls-2s",
    "disk-stalls-30s",
    "flush-fails",
    "follower-away",
    "follower-isolated",
    "follower-killed",
    "front-killed",
    "grow-3-6",
    "grow-3-9-3",
    "leader-deafened",
    "leader-frozen",
    "leader-isolated",
    "leader-killed",
    "leader-killed-often",
    "leader-muted",
    "links-lossy",
    "links-narrow",
    "links-reset",
    "links-slow",
    "links-very-lossy",
    "log-bit-flipped",
    "members-3-5-3",
    "overload",
    "power-cut",
    "power-cut-leader",
    "rolling-restart",
    "rolling-upgrade",
    "seat-replaced",
    "slots-to-and-fro",
    "snapshot-bit-flipped",
    "sockets-reconnect",
    "tail-torn",
];
