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

schedules!["leader-killed"];
