//! Owns which seat is asked for by whom: every seat of a run once, spread over its connections.
//!
//! Seat ids are made when they are needed; only rows are kept. Must never give a seat out twice.

use serde_json::Value;

/// A row of seats as the seat map shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// `<section>-<row>-`, before the number.
    prefix: String,
    /// Seats of the rows before it.
    first: u64,
    seats: u64,
}

/// The numbered seats of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSeats {
    /// Whose.
    pub event_id: String,
    rows: Vec<Row>,
    seats: u64,
}

impl EventSeats {
    /// Those of a seat map (`GET /v1/events/{event_id}/seatmap`).
    pub fn of_map(event_id: &str, map: &Value) -> EventSeats {
        let mut seats = EventSeats { event_id: event_id.to_owned(), rows: vec![], seats: 0 };
        for section in map["sections"].as_array().into_iter().flatten() {
            let key = section["key"].as_str().unwrap_or_default();
            for row in section["rows"].as_array().into_iter().flatten() {
                let label = row["label"].as_str().unwrap_or_default();
                let count = row["seats"].as_u64().unwrap_or_default();
                let prefix = format!("{key}-{label}-");
                seats.rows.push(Row { prefix, first: seats.seats, seats: count });
                seats.seats += count;
            }
        }
        seats
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.seats
    }

    /// The public id of a seat, counted from 0 in row order.
    pub fn id(&self, seat: u64) -> Option<String> {
        if seat >= self.seats {
            return None;
        }
        let row = &self.rows[self.rows.partition_point(|row| row.first <= seat) - 1];
        Some(format!("{}{}", row.prefix, seat - row.first + 1))
    }

    /// The place of a seat id in row order.
    #[cfg(test)]
    fn position(&self, id: &str) -> Option<u64> {
        let row = self.rows.iter().find(|row| id.starts_with(&row.prefix))?;
        let number: u64 = id[row.prefix.len()..].parse().ok()?;
        (1..=row.seats).contains(&number).then(|| row.first + number - 1)
    }

    /// Up to `count` seats side by side, beginning at `seat`.
    pub fn neighbours(&self, seat: u64, count: u64) -> Vec<String> {
        let row = self.rows.partition_point(|row| row.first <= seat).checked_sub(1);
        let Some(row) = row.map(|row| &self.rows[row]) else {
            return Vec::new();
        };
        let end = (seat + count).min(row.first + row.seats);
        (seat..end).filter_map(|seat| self.id(seat)).collect()
    }
}

/// One connection's share of the seats of several events.
#[derive(Clone, Debug)]
pub struct Share {
    connection: u64,
    connections: u64,
    spread: bool,
    turn: u64,
}

impl Share {
    /// The share of one of `connections`, counted from 0. `spread`: all events at once, else one
    /// event after the other (a hot event each).
    pub fn new(connection: u64, connections: u64, spread: bool) -> Share {
        Share { connection, connections: connections.max(1), spread, turn: 0 }
    }

    /// The next seat: index of its event, and its number there. `None` when the share is used up.
    pub fn next(&mut self, events: &[EventSeats]) -> Option<(usize, u64)> {
        let place = self.turn * self.connections + self.connection;
        self.turn += 1;
        if self.spread { spread(events, place) } else { in_turn(events, place) }
    }
}

fn in_turn(events: &[EventSeats], mut place: u64) -> Option<(usize, u64)> {
    for (index, event) in events.iter().enumerate() {
        if place < event.len() {
            return Some((index, place));
        }
        place -= event.len();
    }
    None
}

/// Events are used evenly as far as the smallest of them goes.
fn spread(events: &[EventSeats], place: u64) -> Option<(usize, u64)> {
    let count = u64::try_from(events.len()).ok().filter(|count| *count > 0)?;
    let smallest = events.iter().map(EventSeats::len).min()?;
    let (seat, index) = (place / count, usize::try_from(place % count).ok()?);
    (seat < smallest).then_some((index, seat))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn event(id: &str, rows: &[u64]) -> EventSeats {
        let rows: Vec<Value> = rows
            .iter()
            .enumerate()
            .map(|(row, seats)| json!({"label": format!("R{row}"), "seats": seats}))
            .collect();
        let floor = json!({"key": "FLOOR", "kind": "general_admission", "capacity": 50});
        let seated = json!({"key": "101", "kind": "seated", "rows": rows});
        EventSeats::of_map(id, &json!({"event_id": id, "sections": [floor, seated]}))
    }

    #[test]
    fn every_seat_of_the_map_has_its_id_and_general_admission_none() {
        let event = event("evt_a", &[2, 0, 3]);
        let ids: Vec<String> = (0..event.len()).filter_map(|seat| event.id(seat)).collect();
        assert_eq!(ids, ["101-R0-1", "101-R0-2", "101-R2-1", "101-R2-2", "101-R2-3"]);
        assert_eq!(event.id(5), None);
        for (place, id) in ids.iter().enumerate() {
            assert_eq!(event.position(id), u64::try_from(place).ok());
        }
        assert_eq!(event.neighbours(1, 3), ["101-R0-2"], "a row ends where it ends");
        assert_eq!(event.neighbours(2, 2), ["101-R2-1", "101-R2-2"]);
    }

    #[test]
    fn each_seat_is_given_to_exactly_one_connection_once() {
        let events = [event("evt_a", &[7, 5]), event("evt_b", &[9]), event("evt_c", &[10, 3])];
        for (spread, expected) in [(false, 12 + 9 + 13), (true, 3 * 9)] {
            for connections in [1, 3, 8, 100] {
                let mut seen = HashSet::new();
                for connection in 0..connections {
                    let mut share = Share::new(connection, connections, spread);
                    while let Some((event, seat)) = share.next(&events) {
                        assert!(events[event].id(seat).is_some());
                        assert!(seen.insert((event, seat)), "given twice");
                    }
                }
                assert_eq!(seen.len(), expected, "{connections} {spread}");
            }
        }
        assert_eq!(Share::new(0, 4, true).next(&[]), None);
    }
}
