//! Tokens: the part of clients' windows in other cells that this node may use.
//!
//! No links, no clock: the caller passes the time in, and does the communication.
//!
//! The cell that holds a client's window (its *home*) debits a lease before it answers; a node takes tokens out of its purse
//! before it uses or gives them; and each answer is counted once. So of no window are there ever more tokens than its home
//! debited, whatever is lost, late or said twice. Two windows of a client in one tier never end at the same instant, since
//! one opens after the other has ended: the end names the window. Tokens of several windows are never mixed.
//!
//! Whether a window has ended is judged by this node's clock, which may be wrong by some milliseconds. That only decides
//! whether a token is tried, so it is tried for a moment longer ([`limits::TRIED_AFTER_END`]): the log that carries the
//! command out refuses one that has lapsed.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits;
use crate::doubles::{Double, planted};
use crate::state::allowance::{Balance, Payment, Tier};
use crate::state::id::Key;

/// Whose window, in which tier.
pub(super) type At = (Key, Tier);

/// The right to one command. It can't be copied: whoever has it may use it or give it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a token that is dropped is lost to the client until the window ends"]
pub(super) struct Token {
    at: At,
    until_ms: u64,
}

impl Token {
    /// How the command is paid for.
    pub(super) fn payment(&self) -> Payment {
        Payment::Paid { until_ms: self.until_ms }
    }
}

/// A request to the home or to another node, which is answered at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenRequest {
    run: u64,
    number: u64,
}

/// What the home answered to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leased {
    /// How many tokens.
    pub(super) count: u32,
    /// The window, after the lease.
    pub(super) balance: Balance,
}

/// The tokens that one run of a node holds.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Purse {
    /// Drawn once per run, so that an answer to an earlier run is told from one to this.
    run: u64,
    /// The number of the last request.
    last_number: u64,
    /// What is not answered yet, in the order in which it was asked.
    open: BTreeMap<u64, Open>,
    /// The leases among them: one at a time of a window.
    leases: BTreeMap<At, u64>,
    windows: BTreeMap<At, Window>,
}

/// A request that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: At,
    want: u32,
    since_ms: u64,
    /// The window that a gift is of; a lease is of whatever window is open.
    gift_of_ms: Option<u64>,
}

/// What this node knows of a client's open window.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    until_ms: u64,
    tokens: u32,
    /// What the last lease brought.
    block: u32,
    /// What it left at the home.
    left: u32,
    /// Until then no node has any left: all were asked a moment ago.
    exhausted_until_ms: u64,
    /// A log said that it has ended.
    lapsed: bool,
}

impl Window {
    /// Whether its tokens are worth trying.
    fn is_open(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.saturating_add(millis(limits::TRIED_AFTER_END))
    }
}

impl Purse {
    /// The empty purse of a run.
    pub(super) fn new(run: u64) -> Self {
        let (open, leases, windows) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { run, last_number: 0, open, leases, windows }
    }

    /// A token of the open window, for a command; `None` if this node has none.
    pub(super) fn take(&mut self, at: At, now_ms: u64) -> Option<Token> {
        let window = self.windows.get_mut(&at).filter(|window| window.is_open(now_ms))?;
        window.tokens = window.tokens.checked_sub(1)?;
        Some(Token { at, until_ms: window.until_ms })
    }

    /// Takes a token back: the command was certainly not carried out, or its answer was a repeated one, which costs nothing.
    pub(super) fn give_back(&mut self, token: Token) {
        if let Some(window) = self.windows.get_mut(&token.at)
            && window.until_ms == token.until_ms
            && !window.lapsed
        {
            window.tokens += 1;
        }
    }

    /// A log said that a token has lapsed: so have all others of that window, and the next one is asked for. The home's clock
    /// may be behind that log's, and what it gives lapse as well: so that little of the window is wasted, one token is asked
    /// for at a time until the next window opens.
    pub(super) fn expire(&mut self, token: Token) {
        if let Some(window) = self.window_mut(token.at, token.until_ms) {
            *window = Window { until_ms: token.until_ms, lapsed: true, ..Window::default() };
        }
    }

    /// How many tokens to lease at a time: a block of a sixteenth of the limit, so that few leases serve a client and few
    /// tokens are lost with a node. One, where the window has lapsed or there is no place to keep the rest.
    pub(super) fn want(&self, at: At, limit: u32) -> u32 {
        match self.windows.get(&at) {
            Some(window) if window.lapsed => 1,
            None if !self.has_place(&at) => 1,
            Some(_) | None => (limit / 16).max(1),
        }
    }

    /// Whether the next block should be asked for ahead: more than half of the last one went within its window, and the home
    /// has more.
    pub(super) fn is_low(&self, at: At, now_ms: u64) -> bool {
        let low = |window: &Window| {
            let few = window.tokens < window.block.div_ceil(2);
            few && window.left > 0 && !window.lapsed && now_ms < window.until_ms
        };
        self.windows.get(&at).is_some_and(low) && !self.leases.contains_key(&at)
    }

    /// Notes that a lease is asked of the home. `None` if one is under way, whose answer is to be awaited, or if
    /// [`limits::TOKEN_REQUESTS_MAX`] answers are awaited.
    pub(super) fn request_lease(&mut self, at: At, want: u32, now_ms: u64) -> Option<TokenRequest> {
        self.forget_old_requests(now_ms);
        if self.leases.contains_key(&at) {
            return None;
        }
        let request = self.request(Open { at, want, since_ms: now_ms, gift_of_ms: None })?;
        self.leases.insert(at, request.number);
        Some(request)
    }

    /// Counts the home's answer, if it is the first one to this request, and hands out one token of it for whoever waited:
    /// what the home gave just now is worth a try, whatever this node's clock says.
    ///
    /// What there is no place for is lost to the client until the window ends; see [`Purse::want`].
    pub(super) fn credit(&mut self, request: TokenRequest, leased: Leased) -> Option<Token> {
        let open = self.close(request, |open| open.gift_of_ms.is_none())?;
        let count = leased.count.min(open.want);
        let until_ms = leased.balance.reset_ms;
        if let Some(window) = self.window_mut(open.at, until_ms) {
            (window.block, window.left) = (count, leased.balance.remaining);
        }
        self.add(open.at, until_ms, count)
    }

    /// What to ask each of so many holders for, so that all of them together give no more than a block.
    pub(super) fn want_of_each(&self, at: At, limit: u32, holders: usize) -> u32 {
        let holders = u32::try_from(holders).unwrap_or(u32::MAX).max(1);
        (self.want(at, limit) / holders).max(1)
    }

    /// Notes that a gift is asked of one holder of a window of which the home has nothing left. `None` if
    /// [`limits::TOKEN_REQUESTS_MAX`] answers are awaited.
    pub(super) fn request_gift(
        &mut self,
        at: At,
        until_ms: u64,
        want: u32,
        now_ms: u64,
    ) -> Option<TokenRequest> {
        self.forget_old_requests(now_ms);
        self.request(Open { at, want, since_ms: now_ms, gift_of_ms: Some(until_ms) })
    }

    /// Takes tokens out for another node, before it is told how many.
    pub(super) fn give(&mut self, at: At, until_ms: u64, want: u32) -> u32 {
        let Some(window) = self.windows.get_mut(&at).filter(|window| window.until_ms == until_ms) else {
            return 0;
        };
        let given = want.min(window.tokens);
        window.tokens -= if planted(Double::GiftKept) { 0 } else { given };
        given
    }

    /// Counts a gift, if it is the first answer to this request, and hands out one token of it for whoever waited.
    pub(super) fn receive(&mut self, request: TokenRequest, count: u32) -> Option<Token> {
        let open = self.close(request, |open| open.gift_of_ms.is_some())?;
        self.add(open.at, open.gift_of_ms?, count.min(open.want))
    }

    /// No answer is awaited any more. What it would have brought is lost to the client until the window ends.
    pub(super) fn give_up(&mut self, request: TokenRequest) {
        self.close(request, |_| true);
    }

    /// The home and all other holders were asked, and none has any: the same is said for [`limits::EXHAUSTED_FOR`] without
    /// asking again. Where there is no place to note it, it is asked each time.
    pub(super) fn exhaust(&mut self, at: At, until_ms: u64, now_ms: u64) {
        if let Some(window) = self.window_mut(at, until_ms) {
            window.exhausted_until_ms = until_ms.min(now_ms.saturating_add(millis(limits::EXHAUSTED_FOR)));
        }
    }

    /// When the window ends of which nobody had any token a moment ago. To be asked after [`Purse::take`].
    pub(super) fn exhausted(&self, at: At, now_ms: u64) -> Option<u64> {
        let window = self.windows.get(&at).filter(|window| window.exhausted_until_ms > now_ms)?;
        Some(window.until_ms)
    }

    /// The open window as it may be reported to its client: what the home had left, and what is here.
    pub(super) fn balance(&self, at: At, limit: u32, now_ms: u64) -> Option<Balance> {
        let window = self.windows.get(&at).filter(|window| window.until_ms > now_ms)?;
        let remaining = window.left.saturating_add(window.tokens).min(limit);
        Some(Balance { limit, remaining, reset_ms: window.until_ms })
    }

    /// When the known window ends, and how many tokens of it this node holds.
    pub(super) fn held(&self, at: At) -> Option<(u64, u32)> {
        self.windows.get(&at).map(|window| (window.until_ms, window.tokens))
    }

    /// Forgets windows that have ended, and requests that nobody will answer any more.
    pub(super) fn forget_closed_windows(&mut self, now_ms: u64) {
        self.windows.retain(|_, window| window.is_open(now_ms));
        self.forget_old_requests(now_ms);
    }

    fn forget_old_requests(&mut self, now_ms: u64) {
        let age_max_ms = millis(limits::DEADLINE_MAX);
        while let Some((&number, open)) = self.open.first_key_value()
            && now_ms.saturating_sub(open.since_ms) > age_max_ms
        {
            self.give_up(TokenRequest { run: self.run, number });
        }
    }

    fn request(&mut self, open: Open) -> Option<TokenRequest> {
        if self.open.len() >= limits::TOKEN_REQUESTS_MAX {
            return None;
        }
        self.last_number += 1;
        self.open.insert(self.last_number, open);
        Some(TokenRequest { run: self.run, number: self.last_number })
    }

    /// The request that is answered, if it is open still and of this kind.
    fn close(&mut self, request: TokenRequest, is_kind: impl Fn(&Open) -> bool) -> Option<Open> {
        let known = request.run == self.run && self.open.get(&request.number).is_some_and(is_kind);
        let open = if known { self.open.remove(&request.number)? } else { return None };
        if self.leases.get(&open.at) == Some(&request.number) {
            self.leases.remove(&open.at);
        }
        Some(open)
    }

    fn has_place(&self, at: &At) -> bool {
        self.windows.len() < limits::PURSE_WINDOWS_MAX || self.windows.contains_key(at)
    }

    /// The window that ends then, in the place of an earlier one; `None` if a later one is known, or there is no place.
    fn window_mut(&mut self, at: At, until_ms: u64) -> Option<&mut Window> {
        if !self.has_place(&at) {
            return None;
        }
        let window = self.windows.entry(at).or_default();
        if window.until_ms < until_ms {
            *window = Window { until_ms, ..Window::default() };
        }
        (window.until_ms == until_ms).then_some(window)
    }

    /// Puts tokens in, all but the one that is handed out.
    fn add(&mut self, at: At, until_ms: u64, count: u32) -> Option<Token> {
        let rest = count.checked_sub(1)?;
        if rest > 0
            && let Some(window) = self.window_mut(at, until_ms)
            && !window.lapsed
        {
            window.tokens += rest;
        }
        Some(Token { at, until_ms })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
