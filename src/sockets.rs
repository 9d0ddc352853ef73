//! The open sockets of one plugin: every upgrade that it let pass, until it ends (contract, section 11).
//!
//! Envoy does not report the end of a stream, because the filter exports no callback for it: that would cost every
//! request as much as counting one. So the timer asks, once a second, which sockets still exist.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use policy::sockets::{Ended, Handshake, Life, Standing};
use policy::{Mode, Policy};

use crate::facts::Facts;
use crate::host::{self, Id};

/// The most bytes that the open sockets of one worker may take.
const MOST_BYTES: usize = 40 * 1024 * 1024;

/// How many sockets are decided again or closed at a time, so that no request waits longer than a few milliseconds.
const BATCH: usize = 100;

/// How many sockets are looked at when there is no room for another.
const GLANCE: usize = 64;

thread_local! {
    /// The bytes that the open sockets of all plugins of this VM take.
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    /// The number of these sockets.
    static OPEN: Cell<u32> = const { Cell::new(0) };
}

/// How many sockets are open in this VM, as far as it is known.
pub(crate) fn open_in_vm() -> u32 {
    OPEN.get()
}

/// One open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) id: Id,
    /// `None` if it passed in report mode although there was no room.
    pub(crate) handshake: Option<Handshake>,
    pub(crate) standing: Standing,
    pub(crate) life: Life,
    /// The number of the version that has decided it.
    pub(crate) decided_by: u32,
    /// Whether its end was reported in report mode already, so that it is counted once.
    pub(crate) is_reported: bool,
}

impl Socket {
    /// What it takes in memory, including what the allocator adds.
    fn size(&self) -> usize {
        const OVERHEAD: usize = 64;
        let user = match &self.standing {
            Standing::Known { user: Some(user), .. } => user.len(),
            _ => 0,
        };
        let headers = self.handshake.as_ref().map_or(0, |handshake| handshake.map().len());
        size_of::<Self>().saturating_add(OVERHEAD).saturating_add(user).saturating_add(headers)
    }

    /// The path of the handshake, without its query.
    pub(crate) fn path(&self) -> &[u8] {
        self.handshake.as_ref().map_or(&[], Handshake::path)
    }

    fn is_users(&self) -> bool {
        matches!(self.standing, Standing::Known { user: Some(_), .. })
    }
}

/// Who decides open sockets: the policy in force, and the number of its version. `None` instead of a policy stands for
/// one that this module cannot read.
pub(crate) struct Judge<'p> {
    pub(crate) policy: Option<&'p Policy>,
    pub(crate) number: u32,
}

/// The open sockets of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: RefCell<Vec<Socket>>,
    /// The next socket to look at when there is no room.
    glance: Cell<usize>,
}

impl Sockets {
    /// Whether there is room for another socket that keeps this handshake. `request` is the request for which the
    /// host's calls act.
    pub(crate) fn has_room(&self, handshake: &Handshake, request: Id) -> bool {
        let fits =
            || TAKEN.get().saturating_add(handshake.map().len()).saturating_add(size_of::<Socket>()) < MOST_BYTES;
        fits() || {
            self.glance();
            host::act_for(request);
            fits()
        }
    }

    /// Adds a socket that was let through.
    pub(crate) fn add(&self, socket: Socket) {
        if let Ok(mut open) = self.open.try_borrow_mut() {
            TAKEN.set(TAKEN.get().saturating_add(socket.size()));
            OPEN.set(OPEN.get().saturating_add(1));
            open.push(socket);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.try_borrow().is_ok_and(|open| open.is_empty())
    }

    /// Looks at a few sockets, and forgets those that have ended.
    fn glance(&self) {
        let Ok(mut open) = self.open.try_borrow_mut() else { return };
        for _ in 0..GLANCE.min(open.len()) {
            let at = self.glance.get();
            match open.get(at) {
                None => self.glance.set(0),
                Some(socket) if host::has_context(socket.id) => self.glance.set(at.saturating_add(1)),
                Some(_) => forget(&open.swap_remove(at)),
            }
        }
    }

    /// Forgets the sockets that have ended, and closes those that may not stay. Calls `report` for each of these, while
    /// the host's calls act for it. Returns whether some wait for their decision.
    pub(crate) fn look(&self, judge: &Judge<'_>, now: u64, mut report: impl FnMut(&Closing<'_>)) -> bool {
        // New sockets are added to an empty list meanwhile, although no host calls back in between.
        let Ok(mut sockets) = self.open.try_borrow_mut().map(|mut open| std::mem::take(&mut *open)) else {
            return true;
        };
        let (mut left, mut some_wait) = (BATCH, false);
        sockets.retain_mut(|socket| {
            if !host::has_context(socket.id) {
                forget(socket);
                return false;
            }
            // If the clock was set back, the age counts from then on.
            socket.life.opened = socket.life.opened.min(now);
            let is_due = socket.decided_by != judge.number;
            if !is_due && !socket.is_over(judge, now) {
                return true;
            }
            if left == 0 {
                // Until it is decided, the policy in force may also lack facts about it.
                some_wait = true;
                return true;
            }
            left = left.saturating_sub(1);
            let stays = socket.stays(judge, is_due, now, &mut report);
            if !stays {
                forget(socket);
            }
            stays
        });
        if let Ok(mut open) = self.open.try_borrow_mut() {
            sockets.append(&mut open);
            *open = sockets;
        }
        some_wait
    }
}

/// A plugin that ends has no open sockets any more: Envoy keeps it until its last stream has ended.
impl Drop for Sockets {
    fn drop(&mut self) {
        self.open.get_mut().iter().for_each(forget);
    }
}

fn forget(socket: &Socket) {
    TAKEN.set(TAKEN.get().saturating_sub(socket.size()));
    OPEN.set(OPEN.get().saturating_sub(1));
}

/// A socket that is closed, or would be in enforce mode.
#[derive(Debug)]
pub(crate) struct Closing<'s> {
    pub(crate) socket: &'s Socket,
    pub(crate) ended: Ended<'s>,
    pub(crate) mode: Mode,
    /// The peer's address as Envoy shows it.
    pub(crate) peer: &'s [u8],
    pub(crate) age: u64,
}

impl Socket {
    /// Decides the socket, if it is due, and looks at its life. Closes it if it must not stay. The host's calls act for
    /// it.
    fn stays(&mut self, judge: &Judge<'_>, is_decided: bool, now: u64, report: impl FnMut(&Closing<'_>)) -> bool {
        if is_decided {
            (self.decided_by, self.is_reported) = (judge.number, false);
            if let Some(policy) = judge.policy.filter(|policy| policy.sockets().until_assertion) {
                self.life.expires = host::property(b"metadata").ok().and_then(|all| policy.expiry(&all));
            }
        }
        match self.close(judge, is_decided, now, report) {
            Outcome::Stays => true,
            Outcome::Reported => {
                self.is_reported = true;
                true
            }
            Outcome::NotClosed => {
                // It is tried again.
                self.decided_by = judge.number.wrapping_sub(1);
                true
            }
            Outcome::Gone => false,
        }
    }

    /// Whether its age or its assertion has come to an end that was not reported yet.
    fn is_over(&self, judge: &Judge<'_>, now: u64) -> bool {
        let ended = judge.policy.and_then(|policy| policy.sockets().ended(&self.life, self.is_users(), now));
        ended.is_some() && !self.is_reported
    }

    /// Closes the socket if it must not stay.
    fn close(&self, judge: &Judge<'_>, is_decided: bool, now: u64, mut report: impl FnMut(&Closing<'_>)) -> Outcome {
        let mode = judge.policy.map_or(Mode::Enforce, Policy::mode);
        let facts = judge.policy.filter(|policy| is_decided && policy.sockets().recheck).map(Facts::read);
        let ended = match judge.policy {
            None => is_decided.then_some(Ended::Unclear),
            Some(policy) => facts
                .as_ref()
                .and_then(|facts| self.decide(policy, facts))
                .or_else(|| policy.sockets().ended(&self.life, self.is_users(), now)),
        };
        let Some(ended) = ended.filter(|_| !self.is_reported) else { return Outcome::Stays };
        // A stream that has just ended by itself must not be closed again.
        if host::has_ended() {
            return Outcome::Gone;
        }
        let peer = facts.as_ref().map_or_else(
            || Cow::Owned(host::property(b"source\0address").unwrap_or_default()),
            |facts| Cow::Borrowed(&*facts.peer),
        );
        report(&Closing { socket: self, ended, mode, peer: &peer, age: now.saturating_sub(self.life.opened) });
        match mode {
            Mode::Report => Outcome::Reported,
            Mode::Enforce if host::close_stream().is_ok() => Outcome::Gone,
            Mode::Enforce => Outcome::NotClosed,
        }
    }

    /// Why this policy would not let the socket stay.
    fn decide<'s>(&'s self, policy: &'s Policy, facts: &'s Facts<'_>) -> Option<Ended<'s>> {
        let Some(handshake) = &self.handshake else { return Some(Ended::Unclear) };
        let mut request = facts.request(policy);
        if policy.read_into(&mut request, handshake.map()).is_err() {
            return Some(Ended::Unclear);
        }
        facts.add_to(policy, &mut request);
        policy.recheck(&self.standing, handshake, &request).err()
    }
}

/// What became of a socket.
enum Outcome {
    /// It may stay.
    Stays,
    /// It may not, but nothing is closed in report mode.
    Reported,
    /// The host did not close it.
    NotClosed,
    /// It is closed, or has ended by itself.
    Gone,
}
