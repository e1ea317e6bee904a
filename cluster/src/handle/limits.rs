//! Every bound between the edge and the log, in one place.

use std::time::Duration;

use tokio::time::Instant;

use crate::state::limits::DEPARTURE_MS;

/// Commands that wait on this node for their batch; beyond, a command is refused as overloaded.
pub(super) const PENDING_MAX: usize = 32_768;
/// Their bytes.
pub(super) const PENDING_BYTES_MAX: usize = 64 << 20;
/// So many commands of a node may be unanswered however long that takes: all chunks of the largest transfer at once, and
/// what comes while nobody leads.
pub(super) const OPEN_UNCONDITIONAL: usize = 2048;
/// Beyond them, a command is refused as overloaded once the oldest has waited for so long. What waits is then carried out in
/// about that time, and at half the load twice that time later nothing of it is left.
pub(super) const OPEN_AGE_MAX: Duration = Duration::from_millis(500);
/// Bytes of one batch from a node to the leader.
pub(super) const BATCH_BYTES_MAX: usize = 512 << 10;
/// Commands of one batch.
pub(super) const BATCH_COMMANDS_MAX: usize = 2048;
/// For how long a command that may linger waits for another one to go along with.
pub(super) const LINGER_MAX: Duration = Duration::from_millis(10);
/// Batches of one node in flight, and proposals of the leader.
pub(super) const IN_FLIGHT_MAX: usize = 4;
/// Waiting bytes from which on a further proposal, or batch, is sent while others are in flight.
pub(super) const PIPELINE_BYTES: usize = 256 << 10;
/// Commands in flight from which on as many are worth a further batch, or proposal; below, half as many are.
pub(super) const PIPELINE_COMMANDS: usize = 96;
/// Batches that wait at the leader.
pub(super) const QUEUED_BATCHES_MAX: usize = 4096;
/// Their bytes.
pub(super) const SEQUENCER_BYTES_MAX: usize = 64 << 20;
/// Runs of nodes whose place in their commands the leader knows.
pub(super) const ORIGINS_MAX: usize = 1024;
/// Bytes of one proposal; a single larger batch still goes.
pub(super) const PROPOSAL_BYTES_MAX: usize = 1 << 20;
/// Commands of one proposal.
pub(super) const PROPOSAL_COMMANDS_MAX: usize = 4096;
/// Entries by which a node may be behind and still call itself ready. Beyond, reads are refused at once: they would wait for
/// seconds, and other nodes answer them.
pub(super) const LAG_MAX: u64 = 512;
/// Readers that wait for one read index; beyond, overloaded.
pub(super) const READERS_MAX: usize = 65_536;
/// Clients whose reads wait to be charged; beyond, all are charged at once.
pub(super) const SPENDERS_MAX: usize = 65_536;
/// A refusal by a balance that another cell answered is not looked at anew for so many milliseconds.
pub(super) const ASKED_ANEW_MS: u64 = 1_000;
/// Charges of one client that are on their way and told apart; beyond, the last ones count until the latest is applied.
pub(super) const SENT_PER_SPENDER_MAX: usize = 16;
/// Charges that ride on one batch.
pub(super) const SPENDS_PER_BATCH_MAX: usize = 256;
/// Clients' windows, by tier, that a node knows tokens of; beyond, each request of another client leases its own token.
pub(super) const PURSE_WINDOWS_MAX: usize = 65_536;
/// Leases and gifts that a node awaits; beyond, none is asked for.
pub(super) const TOKEN_REQUESTS_MAX: usize = 65_536;
/// For how long a node may take to give another one tokens.
pub(super) const GIVE_TIMEOUT: Duration = Duration::from_millis(250);
/// For so long after a client's window ended by a node's clock the node still tries tokens of it: as much as clocks differ.
pub(super) const TRIED_AFTER_END: Duration = Duration::from_millis(100);
/// For how long a node says that nobody has a token without asking again.
pub(super) const EXHAUSTED_FOR: Duration = Duration::from_millis(250);
/// Bytes of one datagram.
pub(super) const DATAGRAM_BYTES_MAX: usize = 80 << 10;
/// Bytes of datagrams that wait for one peer; beyond, datagrams are dropped.
pub(super) const DATAGRAMS_BYTES_MAX: usize = 4 << 20;
/// Bytes of datagrams that go to a peer as one frame.
pub(super) const DATAGRAM_FRAME_BYTES_MAX: usize = 256 << 10;
/// For how long a frame of datagrams may be on its way.
pub(super) const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);
/// Datagrams that wait on this node for their reader; beyond, they are dropped.
pub(super) const DATAGRAMS_MAX: usize = 16_384;
/// For how long any command may be tried. An origin's outcomes are remembered for far longer
/// (`state::limits::ORIGIN_SILENT_MS_MAX`), so no retry can outlive the memory of its first try.
pub(super) const DEADLINE_MAX: Duration = Duration::from_secs(15);
/// A command may be tried for so long, and be in a leader's hand for as long again. Meanwhile, and for as long again as
/// clocks of two cells may differ by, the generation is remembered that refuses it.
const _: () = assert!(DEPARTURE_MS as u128 >= 4 * DEADLINE_MAX.as_millis());
/// Between two tries of the same batch.
pub(super) const RETRY_EVERY: Duration = Duration::from_millis(20);
/// A leader that is silent for so long may be lost: whether a majority is heard is asked from here on, and known when the
/// leader counts as lost.
pub(super) const SILENCE_SUSPECT: Duration = Duration::from_millis(450);
/// How often it is asked meanwhile.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(100);
/// A voter that has not answered after so long is not heard.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// For how long a voter waits to find a leader lost that another has found lost.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_millis(100);
/// A voter that has not answered after so long does not confirm that a leader is lost.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_millis(150);
/// For how long a leader's word counts that it hears no majority.
pub(super) const UNHEARD_COUNTS: Duration = Duration::from_secs(1);
/// How long an election is given before the voters of a lost leader are asked again, each time.
pub(super) const STAND_AGAIN: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(300), Duration::from_millis(600)];
/// How often the leader of a cell tells those outside of it that it leads.
pub(super) const BEACON_EVERY: Duration = Duration::from_millis(200);
/// For how long a beacon may be on its way.
pub(super) const BEACON_TIMEOUT: Duration = Duration::from_millis(500);
/// A node that has heard of no leader of another cell for so long takes that for leaderless: no sooner than a member does.
pub(super) const BEACON_SILENCE_MAX: Duration = Duration::from_millis(800);
/// How often a node that hears no leader asks whether it was removed.
pub(super) const STANDING_EVERY: Duration = Duration::from_millis(250);
/// For how long such a question may be on its way.
pub(super) const STANDING_TIMEOUT: Duration = Duration::from_millis(300);
/// Nodes that are asked in one round, this one counted.
pub(super) const STANDING_ASKED_MAX: usize = 64;
/// Reads of another cell that wait for their host; beyond, overloaded.
pub(super) const ASKS_MAX: usize = 65_536;
/// Frames of them under way.
pub(super) const ASK_FRAMES_MAX: usize = 8;
/// Questions in one of them; a read has four at most.
pub(super) const QUESTIONS_PER_FRAME_MAX: usize = 4 * crate::state::query::codec::QUESTIONS_MAX;
/// Bytes of replies from which on no further read is answered in the same frame.
pub(super) const REPLIES_BYTES: usize = 1 << 20;
/// For how long a host waits for a change before it says that there is none.
pub(super) const RING_WAIT: Duration = Duration::from_millis(300);
/// A host that says nothing for so long is given up.
pub(super) const RING_TIMEOUT: Duration = Duration::from_millis(800);
/// Hints in one frame.
pub(super) const RING_HINTS_MAX: usize = 4096;
/// A node that has not asked its host for so long is forgotten there.
pub(super) const RING_FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// For how long a command is tried while nobody leads and this node hears no majority of the voters. One that hears a
/// majority tries it until its deadline.
pub(super) const LEADERLESS_TIMEOUT: Duration = Duration::from_millis(900);
/// For how long nobody must have led before that counts: a command that is older already, as on a slow disk, sees a
/// leader that hands over to another through. A node that is cut off refuses within a second all the same, because it
/// takes its leader for lost after 800 ms of silence.
pub(super) const LEADERLESS_GRACE: Duration = Duration::from_millis(150);

/// Bytes of a snapshot that a node takes from a peer: what it stores itself at the most may take twice that with its
/// bookkeeping, and allowances, memories and sockets are not counted as stored.
pub(super) fn snapshot_bytes_max(storage_bytes_max: u64) -> u64 {
    storage_bytes_max.saturating_mul(2).saturating_add(1 << 30)
}

/// For how long a command may be tried that nobody leads for since `leaderless`, by a node that does or does not hear a
/// majority of the voters.
pub(super) fn leaderless_timeout(leaderless: Option<Instant>, heard: bool, deadline: Duration) -> Duration {
    match leaderless {
        Some(since) if !heard && since.elapsed() >= LEADERLESS_GRACE => LEADERLESS_TIMEOUT.min(deadline),
        Some(_) | None => deadline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    fn a_leader_that_hands_over_leaves_a_wish_all_its_time() {
        for heard in [true, false] {
            assert_eq!(leaderless_timeout(None, heard, DEADLINE), DEADLINE);
            assert_eq!(leaderless_timeout(Some(Instant::now()), heard, DEADLINE), DEADLINE);
        }
    }

    #[test]
    fn a_wish_waits_for_an_election_and_hears_within_a_second_that_there_can_be_none() {
        let lost = Instant::now() - LEADERLESS_GRACE;
        assert_eq!(leaderless_timeout(Some(lost), true, DEADLINE), DEADLINE);
        assert_eq!(leaderless_timeout(Some(lost), false, DEADLINE), LEADERLESS_TIMEOUT);
        let brief = LEADERLESS_TIMEOUT / 2;
        assert_eq!(leaderless_timeout(Some(lost), false, brief), brief);
    }
}
