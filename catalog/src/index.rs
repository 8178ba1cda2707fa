//! Owns the search index: tantivy in memory, filled from the store at start.
//!
//! Each entry carries the event's document without its seat map, so that a page is exactly what
//! was matched. Must never parse a query language: a user's text is words and nothing else.

use std::ops::Bound;

use bytes::Bytes;
use onsale_proto::catalog::{EventDocument, ListEventsRequest};
use prost::Message as _;
use tantivy::{
    DocAddress, Index as TantivyIndex, IndexReader, IndexSettings, IndexWriter, Order,
    ReloadPolicy, TantivyDocument, Term,
    collector::{
        TopDocs,
        sort_key::{SortByStaticFastValue, SortByString},
    },
    query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query, RangeQuery, TermQuery},
    schema::{FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, Value as _},
    store::Compressor,
};

use crate::{Error, limits, page::Place, text};

#[derive(Clone, Copy)]
struct Fields {
    event_id: Field,
    starts_at: Field,
    city: Field,
    category: Field,
    word: Field,
    header: Field,
}

/// What searches read: the entries as of the last commit.
pub(crate) struct Index {
    reader: IndexReader,
    fields: Fields,
}

/// What changes them; there is one.
pub(crate) struct Writer {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
}

/// One page's worth of matches.
pub(crate) struct Matches {
    /// Documents without sections, in order.
    pub(crate) events: Vec<EventDocument>,
    /// There are more behind the last one.
    pub(crate) more: bool,
}

/// An empty index.
pub(crate) fn create() -> Result<(Index, Writer), Error> {
    let mut schema = Schema::builder();
    let fields = Fields {
        event_id: schema.add_text_field("event_id", STRING | FAST),
        starts_at: schema.add_u64_field("starts_at", INDEXED | FAST),
        city: schema.add_text_field("city", STRING),
        category: schema.add_text_field("category", STRING),
        word: schema.add_text_field("word", STRING),
        header: schema.add_bytes_field("header", STORED),
    };
    let settings = IndexSettings { docstore_compression: Compressor::None, ..Default::default() };
    let index =
        TantivyIndex::builder().schema(schema.build()).settings(settings).create_in_ram()?;
    let writer = index.writer_with_num_threads(1, limits::INDEX_WRITER_BYTES)?;
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    let readers = Index { reader: IndexReader::clone(&reader), fields };
    Ok((readers, Writer { writer, reader, fields }))
}

impl Writer {
    /// Takes a document in place of an earlier one of the same event, once committed.
    pub(crate) fn put(&self, document: EventDocument) -> Result<(), Error> {
        self.remove(&document.event_id);
        let words = text::event_words(&document);
        let header = header(document);
        let mut entry = TantivyDocument::default();
        entry.add_text(self.fields.event_id, &header.event_id);
        entry.add_u64(self.fields.starts_at, header.starts_at_ms);
        entry.add_text(self.fields.city, text::facet(&header.city));
        entry.add_text(self.fields.category, text::facet(&header.category));
        for word in words {
            entry.add_text(self.fields.word, word);
        }
        entry.add_bytes(self.fields.header, &header.encode_to_vec());
        self.writer.add_document(entry)?;
        Ok(())
    }

    /// Forgets an event, once committed.
    pub(crate) fn remove(&self, event_id: &str) {
        self.writer.delete_term(Term::from_field_text(self.fields.event_id, event_id));
    }

    /// Makes all changes visible at once.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        self.writer.commit()?;
        self.reader.reload()?;
        Ok(())
    }
}

impl Index {
    /// The events that match, soonest first, then by id, behind `after`; at most `count`.
    pub(crate) fn search(
        &self,
        filters: &ListEventsRequest,
        after: Option<&Place>,
        count: usize,
    ) -> Result<Matches, Error> {
        let searcher = self.reader.searcher();
        let order = (
            (SortByStaticFastValue::<u64>::for_field("starts_at"), Order::Asc),
            (SortByString::for_field("event_id"), Order::Asc),
        );
        let top = TopDocs::with_limit(count + 1).order_by(order);
        let found = searcher.search(&self.query(filters, after), &top)?;
        let mut matches = Matches { events: Vec::new(), more: found.len() > count };
        let mut bytes = 0;
        for (_, address) in found.into_iter().take(count) {
            let header = self.header(&searcher, address)?;
            bytes += header.len();
            if bytes > limits::PAGE_BYTES_MAX && !matches.events.is_empty() {
                matches.more = true;
                break;
            }
            let event = EventDocument::decode(header)
                .map_err(|error| Error::Unreadable(error.to_string()))?;
            matches.events.push(event);
        }
        Ok(matches)
    }

    fn header(&self, searcher: &tantivy::Searcher, address: DocAddress) -> Result<Bytes, Error> {
        let entry: TantivyDocument = searcher.doc(address)?;
        let value = entry.get_first(self.fields.header).and_then(|value| value.as_bytes());
        value
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| Error::Unreadable("an index entry has no document".to_owned()))
    }

    fn query(&self, filters: &ListEventsRequest, after: Option<&Place>) -> Box<dyn Query> {
        let fields = self.fields;
        let mut all: Vec<Box<dyn Query>> = Vec::new();
        if let Some(words) = text::query_words(&filters.query) {
            if words.is_empty() {
                return Box::new(EmptyQuery);
            }
            all.extend(words.iter().map(|word| self.begins(word)));
        }
        for (field, name) in [(fields.city, &filters.city), (fields.category, &filters.category)] {
            let facet = text::facet(name);
            if !facet.is_empty() {
                all.push(term(Term::from_field_text(field, &facet)));
            }
        }
        let starts_at = |ms| Term::from_field_u64(fields.starts_at, ms);
        if filters.from_ms > 0 {
            all.push(range(Bound::Included(starts_at(filters.from_ms)), Bound::Unbounded));
        }
        if filters.to_ms > 0 {
            all.push(range(Bound::Unbounded, Bound::Excluded(starts_at(filters.to_ms))));
        }
        if let Some(place) = after {
            all.push(self.behind(place));
        }
        if all.is_empty() {
            return Box::new(AllQuery);
        }
        Box::new(BooleanQuery::intersection(all))
    }

    fn begins(&self, word: &str) -> Box<dyn Query> {
        let of_word = |text: &str| Term::from_field_text(self.fields.word, text);
        let end = text::after_prefix(word);
        range(
            Bound::Included(of_word(word)),
            end.map_or(Bound::Unbounded, |end| Bound::Excluded(of_word(&end))),
        )
    }

    fn behind(&self, place: &Place) -> Box<dyn Query> {
        let starts_at = Term::from_field_u64(self.fields.starts_at, place.starts_at_ms);
        let event_id = Term::from_field_text(self.fields.event_id, &place.event_id);
        let same_time = BooleanQuery::new(vec![
            (Occur::Must, term(starts_at.clone())),
            (Occur::Must, range(Bound::Excluded(event_id), Bound::Unbounded)),
        ]);
        let later = range(Bound::Excluded(starts_at), Bound::Unbounded);
        Box::new(BooleanQuery::union(vec![later, Box::new(same_time)]))
    }
}

fn term(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn range(from: Bound<Term>, to: Bound<Term>) -> Box<dyn Query> {
    Box::new(RangeQuery::new(from, to))
}

/// A document as lists show it: without its seat map.
fn header(document: EventDocument) -> EventDocument {
    EventDocument { sections: Vec::new(), ..document }
}
