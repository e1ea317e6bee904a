//! A room has one order for all who listen, without a hole; what was said stays until its room's history is full or
//! it is old; the same message again is one message.

use std::collections::BTreeMap;

use conclave_cluster::state::limits::ROOM_HEAD_MS;
use conclave_cluster::state::outcome::Outcome;
use conclave_cluster::state::room::{self, Keep};

use super::Violation;
use crate::simulation::clock::EPOCH_MS;
use crate::simulation::history::{Command, Event, Fate, RoomSight, Said, Sight};
use crate::simulation::plan::Plan;
use crate::simulation::workload::{ROOMS, keep};

const NAME: &str = "room_order";

pub(crate) fn check(plan: &Plan, events: &[Event]) -> Result<(), Violation> {
    for room in 0..ROOMS {
        let room = Room::of(plan, room, events);
        room.check_epochs()?;
        room.check_order()?;
        room.check_names()?;
        room.check_pace()?;
        for (event, sight) in &room.heard {
            room.check_sight(event, *sight)?;
        }
    }
    Ok(())
}

/// What a message is called: the room's epoch, and its offset in that.
type Place = (u64, u64);

/// Everything that is known of one room.
struct Room<'a> {
    number: u8,
    keep: Keep,
    error_ms: u64,
    published: BTreeMap<u64, &'a Event>,
    /// What was said where, and by whose account, in the order of asking.
    said: Vec<(Place, Said, &'a Event)>,
    heard: Vec<(&'a Event, Option<&'a RoomSight>)>,
    /// The places that were taken when an answer was given; and whether it took the last of them itself.
    marks: Vec<(Place, bool, &'a Event)>,
}

impl<'a> Room<'a> {
    fn of(plan: &Plan, number: u8, events: &'a [Event]) -> Self {
        let (keep, error_ms) = (keep(plan, number), plan.clock_error_ms);
        let (published, said, heard, marks) = Default::default();
        let mut this = Self { number, keep, error_ms, published, said, heard, marks };
        for event in events {
            match (&event.command, &event.fate, event.outcome()) {
                (Command::Publish { room, session, value }, _, outcome) if *room == number => {
                    this.published.insert(*value, event);
                    if let Some(&Outcome::Room(room::Outcome::Published { epoch, offset, at_ms, repeated })) =
                        outcome
                    {
                        let said = Said { offset, session: *session, value: *value, at_ms };
                        this.said.push(((epoch, offset), said, event));
                        this.marks.push(((epoch, offset), !repeated, event));
                    }
                }
                (
                    Command::Join { room, .. },
                    _,
                    Some(Outcome::Room(room::Outcome::Joined { epoch, offset, .. })),
                ) if *room == number => {
                    this.marks.push(((*epoch, *offset), false, event));
                }
                (Command::Hear { room, .. }, Fate::Saw(Sight::Room(sight)), _) if *room == number => {
                    this.heard.push((event, sight.as_ref()));
                    if let Some(sight) = sight {
                        let places = sight.said.iter().map(|said| ((sight.epoch, said.offset), *said, event));
                        this.said.extend(places);
                        this.marks.push(((sight.epoch, sight.last), false, event));
                    }
                }
                _ => {}
            }
        }
        this
    }

    fn violated(&self, what: &str, events: impl IntoIterator<Item = &'a Event>) -> Violation {
        Violation::shown_by(NAME, format!("room {}: {what}", self.number), events)
    }

    /// A numbering begins anew only where the room was long forgotten.
    fn check_epochs(&self) -> Result<(), Violation> {
        let mut epochs: BTreeMap<u64, &Event> = BTreeMap::new();
        for ((epoch, _), _, event) in &self.marks {
            epochs.entry(*epoch).or_insert(event);
        }
        let epochs: Vec<_> = epochs.into_iter().collect();
        match epochs.windows(2).find(|pair| pair[1].0 - pair[0].0 < ROOM_HEAD_MS) {
            Some(pair) => Err(self.violated("it was begun anew too soon", [pair[0].1, pair[1].1])),
            None => Ok(()),
        }
    }

    /// One message a place, for whoever looks, and one that its author published.
    fn check_order(&self) -> Result<(), Violation> {
        let mut places: BTreeMap<Place, (Said, &Event)> = BTreeMap::new();
        for (place, said, event) in &self.said {
            let (first, by) = places.entry(*place).or_insert((*said, event));
            if first != said {
                return Err(self.violated("two messages have one offset", [*by, *event]));
            }
            let Some(command) = self.published.get(&said.value) else {
                return Err(self.violated("it holds what nobody said", [*event]));
            };
            let by_author =
                matches!(command.command, Command::Publish { session, .. } if session == said.session);
            if !by_author || !command.may_count() {
                return Err(self.violated("it holds what was refused or is another's", [*command, *event]));
            }
        }
        Ok(())
    }

    /// The same message again is the same, unless the first was forgotten by then.
    fn check_names(&self) -> Result<(), Violation> {
        let mut places: BTreeMap<u64, BTreeMap<Place, (Said, &Event)>> = BTreeMap::new();
        for (place, said, event) in &self.said {
            places.entry(said.value).or_default().entry(*place).or_insert((*said, event));
        }
        for places in places.values() {
            let places: Vec<_> = places.iter().collect();
            for pair in places.windows(2) {
                let ((first, (said, one)), (second, (again, other))) = (pair[0], pair[1]);
                let forgotten = first.0 != second.0
                    || second.1 - first.1 > u64::from(self.keep.count)
                    || again.at_ms.saturating_sub(said.at_ms) >= u64::from(self.keep.age_ms);
                if !forgotten {
                    return Err(self.violated("one message is there twice", [*one, *other]));
                }
            }
        }
        Ok(())
    }

    /// Whoever comes later finds no less than whoever came before.
    fn check_pace(&self) -> Result<(), Violation> {
        let mut answered = self.marks.clone();
        answered.sort_by_key(|(_, _, event)| event.answered);
        let mut asked = self.marks.clone();
        asked.sort_by_key(|(_, _, event)| event.asked);
        let mut answered = answered.into_iter().peekable();
        let mut high: Option<(Place, &Event)> = None;
        for (place, takes, event) in asked {
            while let Some((place, _, before)) = answered.next_if(|(_, _, it)| it.answered < event.asked) {
                if high.is_none_or(|(highest, _)| highest < place) {
                    high = Some((place, before));
                }
            }
            let Some((highest, before)) = high else { continue };
            // A message that is there already was given its place before.
            let repeated = matches!(event.command, Command::Publish { .. }) && !takes;
            if !repeated && (place < highest || (takes && place == highest)) {
                return Err(self.violated("it goes back", [before, event]));
            }
        }
        Ok(())
    }

    /// What one listener heard has no hole, and lacks nothing that was said and is not forgotten.
    fn check_sight(&self, event: &'a Event, sight: Option<&RoomSight>) -> Result<(), Violation> {
        let before = |it: &&Event| it.precedes(event);
        let Some(sight) = sight else {
            return match self.marks.iter().map(|(_, _, it)| *it).find(before) {
                Some(mark) => Err(self.violated("it is gone", [mark, event])),
                None => Ok(()),
            };
        };
        let Command::Hear { after, .. } = event.command else { return Ok(()) };
        let offsets = sight.said.iter().map(|said| said.offset);
        if !offsets.eq(sight.first.max(after + 1)..=sight.last) {
            return Err(self.violated("there is a hole in what is heard", [event]));
        }
        let kept_from = (sight.last + 1).saturating_sub(u64::from(self.keep.count)).max(1);
        if sight.first < kept_from {
            return Err(self.violated("it holds more than it is told to keep", [event]));
        }
        let (from_ms, to_ms) = (EPOCH_MS + event.start / 1000, EPOCH_MS + event.end / 1000);
        for (place, said, by) in &self.said {
            let over_ms = said.at_ms + u64::from(self.keep.age_ms);
            let (offset, error_ms) = (place.1, self.error_ms);
            let is_kept = place.0 == sight.epoch && (kept_from..=sight.last).contains(&offset);
            if is_kept && offset < sight.first && to_ms + error_ms < over_ms {
                return Err(self.violated("what was said is forgotten too soon", [*by, event]));
            }
            if is_kept && offset >= sight.first && from_ms > over_ms + error_ms {
                return Err(self.violated("what was said is not forgotten", [*by, event]));
            }
        }
        Ok(())
    }
}
