//! Real processes, really hurt: what was acknowledged is there, and nothing happens twice.

mod all_killed;
mod allowance;
mod chaos;
mod damaged_log;
mod descriptors;
mod dev;
mod drain;
mod empty_poll;
mod frozen_leader;
mod guessing;
mod half_open;
mod killed_sockets;
mod leader_killed;
mod lost_disk;
mod membership;
mod overload;
mod partition;
mod ports;
mod recover;
mod restarts;
mod shutdown;
mod siege;
mod slow_links;
mod slow_readers;
mod sockets;
mod strangers;
