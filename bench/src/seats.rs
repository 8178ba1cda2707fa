//! Owns the names of seats: from a seat map to ids and back.
//!
//! Seat ids are made when they are needed; only rows are kept.

use std::collections::HashMap;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSeats {
    /// Whose.
    pub event_id: String,
    rows: Vec<Row>,
    by_prefix: HashMap<String, usize>,
    seats: u64,
}

impl EventSeats {
    /// Those of a seat map (`GET /v1/events/{event_id}/seatmap`).
    pub fn of_map(event_id: &str, map: &Value) -> EventSeats {
        let event_id = event_id.to_owned();
        let (rows, by_prefix) = (Vec::new(), HashMap::new());
        let mut seats = EventSeats { event_id, rows, by_prefix, seats: 0 };
        for section in map["sections"].as_array().into_iter().flatten() {
            let key = section["key"].as_str().unwrap_or_default();
            for row in section["rows"].as_array().into_iter().flatten() {
                let label = row["label"].as_str().unwrap_or_default();
                let count = row["seats"].as_u64().unwrap_or_default();
                let prefix = format!("{key}-{label}-");
                seats.by_prefix.insert(prefix.clone(), seats.rows.len());
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
    pub fn position(&self, id: &str) -> Option<u64> {
        let (prefix, number) = id.split_at_checked(id.rfind('-')? + 1)?;
        let row = &self.rows[*self.by_prefix.get(prefix)?];
        let number: u64 = number.parse().ok()?;
        (1..=row.seats).contains(&number).then(|| row.first + number - 1)
    }

    /// The keys of its seated sections, in order.
    pub fn sections(&self) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for row in &self.rows {
            let key = row.prefix.trim_end_matches('-').rsplit_once('-').map_or("", |(key, _)| key);
            if keys.last().is_none_or(|last| last != key) {
                keys.push(key.to_owned());
            }
        }
        keys
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

#[cfg(test)]
mod tests {
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
        for id in ["", "-", "101", "101-R0-0", "101-R0-3", "101-R9-1", "101-R0-x", "102-R0-1"] {
            assert_eq!(event.position(id), None, "{id}");
        }
        assert_eq!(event.sections(), ["101"]);
        assert_eq!(event.neighbours(1, 3), ["101-R0-2"], "a row ends where it ends");
        assert_eq!(event.neighbours(2, 2), ["101-R2-1", "101-R2-2"]);
    }
}
