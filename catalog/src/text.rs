//! Owns what a word is and when two names are the same, for documents and queries alike.
//!
//! Must never fail: any text has some words, perhaps none.

use std::collections::BTreeSet;

use onsale_proto::catalog::EventDocument;
use tantivy::tokenizer::{
    AsciiFoldingFilter, LowerCaser, SimpleTokenizer, TextAnalyzer, TokenStream as _,
};

use crate::limits;

/// The words of a text in order: runs of letters and digits, in lower case, without accents.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut analyzer = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build();
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while stream.advance() {
        let word = prefix(&stream.token().text, limits::WORD_BYTES_MAX);
        if !word.is_empty() {
            words.push(word.to_owned());
        }
    }
    words
}

/// The different words that find an event.
pub(crate) fn event_words(document: &EventDocument) -> BTreeSet<String> {
    let texts = [
        &document.name,
        &document.venue,
        &document.city,
        &document.category,
        &document.description,
    ];
    let mut found = BTreeSet::new();
    for text in texts {
        for word in words(text) {
            if found.len() >= limits::EVENT_WORDS_MAX {
                return found;
            }
            found.insert(word);
        }
    }
    found
}

/// The different words of a query; `None` if it is blank, which is no filter.
pub(crate) fn query_words(query: &str) -> Option<BTreeSet<String>> {
    if query.trim().is_empty() {
        return None;
    }
    let looked_at = prefix(query, limits::QUERY_BYTES_MAX);
    let all = words(looked_at).into_iter();
    Some(all.take(limits::QUERY_WORDS_MAX).collect())
}

/// A city or category as it is compared: without case and outer blanks.
pub(crate) fn facet(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    prefix(&lower, limits::FACET_BYTES_MAX).to_owned()
}

/// The first text that is greater than every text beginning with `word`; `None` if there is none.
pub(crate) fn after_prefix(word: &str) -> Option<String> {
    let mut chars: Vec<char> = word.chars().collect();
    while let Some(last) = chars.pop() {
        // Skips the surrogates, which are no letters.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn prefix(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_case_no_accents_and_no_punctuation() {
        assert_eq!(words("Zürich: Rock'n'Roll, 2026!"), ["zurich", "rock", "n", "roll", "2026"]);
        assert_eq!(words("¡¿…"), Vec::<String>::new());
    }

    #[test]
    fn a_blank_query_is_no_filter_and_a_query_without_words_is_one() {
        assert_eq!(query_words(" \t\n"), None);
        assert_eq!(query_words("(*) \"&&"), Some(BTreeSet::new()));
    }

    #[test]
    fn what_follows_a_prefix_is_greater_than_all_it_begins() {
        for word in ["a", "arena", "z\u{d7ff}", "q\u{e000}", "\u{10ffff}", "a\u{10ffff}"] {
            let longer = format!("{word}\u{10ffff}\u{10ffff}");
            if let Some(end) = after_prefix(word) {
                assert!(end > longer, "{word:?}");
                assert!(!end.starts_with(word), "{word:?}");
            } else {
                assert!(word.chars().all(|letter| letter == char::MAX));
            }
        }
        assert_eq!(after_prefix("az").as_deref(), Some("a{"));
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        assert_eq!(facet(&"É".repeat(1_000)).len(), limits::FACET_BYTES_MAX);
        let cut = words(&"é日".repeat(500));
        assert!(cut.iter().all(|word| word.len() <= limits::WORD_BYTES_MAX));
    }
}
