//! How a segment is packed: pages of grams with the documents that have them, and pages of documents with the texts they are.
//!
//! A gram's documents are their numbers in the segment, as differences (seven bits a byte), or as a bit for each document where that is
//! shorter. A page holds the grams of one range, in order, each as: its four bytes, twice the length (plus one for bits), the
//! documents.

use super::{Place, grams::Gram};

/// How long a page is, about: four or five fit a page of Postgres, two one of SQLite. Common grams make longer ones.
const PAGE_BYTES: usize = 1800;
/// More pages than these a segment has not.
const MOST_PAGES: usize = 1 << 20;
/// How many documents stand in one page of documents.
pub const DOCUMENTS_A_PAGE: usize = 1024;

/// A set of documents of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    fn none(documents: usize) -> Self {
        Self(vec![0; documents.div_ceil(64)])
    }

    fn insert(&mut self, document: u32) {
        // What is damaged suggests nothing, rather than to fail.
        if let Some(word) = self.0.get_mut(document as usize / 64) {
            *word |= 1 << (document % 64);
        }
    }

    pub fn retain(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            *mine &= others;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.within(0, self.0.len() * 64)
    }

    /// Those from `first` on, of so many; both are multiples of 64.
    pub fn within(&self, first: usize, count: usize) -> impl Iterator<Item = usize> {
        let words = self.0.iter().enumerate();
        let words = words.skip(first / 64).take(count / 64);
        words.flat_map(|(n, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                // Clears the lowest bit.
                rest &= rest.checked_sub(1)?;
                Some(n * 64 + bit)
            })
        })
    }
}

/// Those of `documents` documents that have `gram`, from the page in which it would stand.
pub fn documents_with(gram: Gram, page: &[u8], documents: usize) -> Option<Bits> {
    let mut rest = page;
    while let Some(entry) = Entry::read(&mut rest) {
        if entry.gram == gram {
            return Some(entry.bits(documents));
        }
    }
    None
}

/// A gram and its documents as they stand in a page.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    pub gram: Gram,
    are_bits: bool,
    list: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The next of a page, if there is one.
    pub fn read(page: &mut &'a [u8]) -> Option<Self> {
        let (gram, rest) = page.split_first_chunk()?;
        *page = rest;
        let length = read_number(page)?;
        let (list, rest) = page.split_at_checked(usize::try_from(length >> 1).ok()?)?;
        *page = rest;
        Some(Self {
            gram: Gram::from_le_bytes(*gram),
            are_bits: length & 1 == 1,
            list,
        })
    }

    fn bits(&self, documents: usize) -> Bits {
        let mut bits = Bits::none(documents);
        self.each(|document| bits.insert(document));
        bits
    }

    pub fn each(&self, mut document: impl FnMut(u32)) {
        if self.are_bits {
            for (at, byte) in (0..).step_by(8).zip(self.list) {
                for bit in (0..8).filter(|bit| byte >> bit & 1 == 1) {
                    document(at + bit);
                }
            }
            return;
        }
        let (mut rest, mut at) = (self.list, 0_u32);
        while let Some(step) = read_number(&mut rest) {
            at = at.wrapping_add(u32::try_from(step).unwrap_or(u32::MAX));
            document(at);
        }
    }
}

/// Appends an entry to a page. `documents` ascend.
fn write_entry(page: &mut Vec<u8>, gram: Gram, documents: &[u32]) {
    let mut list = Vec::with_capacity(documents.len());
    let mut before = 0;
    for &document in documents {
        write_number(&mut list, u64::from(document - before));
        before = document;
    }
    let bytes_of_bits = documents.last().map_or(0, |last| *last as usize / 8 + 1);
    let are_bits = bytes_of_bits < list.len();
    if are_bits {
        list = vec![0; bytes_of_bits];
        for document in documents {
            list[*document as usize / 8] |= 1 << (document % 8);
        }
    }
    page.extend(gram.to_le_bytes());
    write_number(page, (list.len() as u64) << 1 | u64::from(are_bits));
    page.extend(list);
}

/// Packs grams, which come in order, into the pages of a segment that has so many. A page without grams is not there.
pub struct Packer {
    pages: usize,
    page: usize,
    open: Vec<u8>,
    /// Those that are full, to be taken and written.
    pub full: Vec<(i64, Vec<u8>)>,
    /// Of all so far.
    pub bytes: usize,
}

impl Packer {
    /// For so many bytes, about.
    pub fn new(bytes: usize) -> Self {
        Self {
            pages: bytes.div_ceil(PAGE_BYTES).clamp(1, MOST_PAGES),
            page: 0,
            open: Vec::new(),
            full: Vec::new(),
            bytes: 0,
        }
    }

    pub fn pages(&self) -> i64 {
        self.pages as i64
    }

    pub fn push(&mut self, gram: Gram, documents: &[u32]) {
        if documents.is_empty() {
            return;
        }
        let page = usize::try_from((u64::from(gram) * self.pages as u64) >> 32).unwrap_or(0);
        if page != self.page {
            self.close();
            self.page = page;
        }
        write_entry(&mut self.open, gram, documents);
    }

    /// The last page is full, too.
    pub fn close(&mut self) {
        if !self.open.is_empty() {
            self.bytes += self.open.len();
            let page = std::mem::take(&mut self.open);
            self.full.push((self.page as i64, page));
        }
    }
}

/// The pages of grams of a segment, from grams and documents in order of both.
pub fn pack(pairs: &[(Gram, u32)]) -> Packer {
    // As much as it would be in one page: good enough to choose how many.
    let mut packer = Packer::new(pairs.len() * 2);
    for of_one in pairs.chunk_by(|a, b| a.0 == b.0) {
        let documents: Vec<u32> = of_one.iter().map(|pair| pair.1).collect();
        packer.push(of_one[0].0, &documents);
    }
    packer.close();
    packer
}

/// The pages of documents of a segment.
pub fn pack_documents(places: &[Place]) -> Vec<(i64, Vec<u8>)> {
    let pack = |places: &[Place]| {
        let (mut page, mut before) = (Vec::new(), 0);
        for place in places {
            // The sign in the lowest bit.
            let step = place.number() - before;
            write_number(&mut page, (step << 1 ^ step >> 63).cast_unsigned());
            write_number(&mut page, place.position().cast_unsigned());
            before = place.number();
        }
        page
    };
    (0..)
        .zip(places.chunks(DOCUMENTS_A_PAGE).map(pack))
        .collect()
}

/// What one page of documents says.
pub fn documents_in(mut page: &[u8]) -> Vec<Place> {
    let (mut places, mut number) = (Vec::with_capacity(DOCUMENTS_A_PAGE), 0_i64);
    while let Some((step, position)) = read_number(&mut page).zip(read_number(&mut page)) {
        let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
        number = number.wrapping_add(step);
        places.push(Place::new(number, position.cast_signed() & Place::TITLE));
    }
    places
}

/// Seven bits a byte, the lowest first; all but the last have the eighth set (LEB128).
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn what_was_packed_is_read(
            grams in prop::collection::btree_map(
                prop_oneof![any::<u32>(), 0_u32..50],
                prop_oneof![
                    prop::collection::btree_set(0_u32..5000, 1..20),
                    prop::collection::btree_set(0_u32..5000, 1000..2000),
                ],
                0..30,
            ),
            others in prop::collection::vec(any::<u32>(), 5),
        ) {
            let pairs: Vec<(Gram, u32)> = grams
                .iter()
                .flat_map(|(gram, documents)| documents.iter().map(|document| (*gram, *document)))
                .collect();
            let packed = pack(&pairs);
            let pages: BTreeMap<i64, Vec<u8>> = packed.full.iter().cloned().collect();
            prop_assert_eq!(pages.len(), packed.full.len());
            for gram in grams.keys().chain(&others) {
                let page = (i64::from(*gram) * packed.pages()) >> 32;
                let read = pages.get(&page).and_then(|page| documents_with(*gram, page, 5000));
                let read: Option<BTreeSet<u32>> = read.map(|bits| bits.iter().map(|n| u32::try_from(n).unwrap()).collect());
                prop_assert_eq!(read.as_ref(), grams.get(gram));
            }
        }

        #[test]
        fn documents_keep_their_places(places in prop::collection::vec((0_i64..1 << 39, 0_i64..1 << 24), 0..3000)) {
            let places: Vec<Place> = places.into_iter().map(|(n, p)| Place::new(n, p)).collect();
            let read: Vec<Place> = pack_documents(&places).iter().flat_map(|(_, page)| documents_in(page)).collect();
            prop_assert_eq!(read, places);
        }

        #[test]
        fn what_is_damaged_is_no_reason_to_fail(page in prop::collection::vec(any::<u8>(), 0..200), gram in any::<u32>()) {
            let _ = documents_with(gram, &page, 100);
            let mut rest = &page[..];
            while let Some(entry) = Entry::read(&mut rest) {
                let _ = entry.bits(100);
            }
            let _ = documents_in(&page);
        }
    }
}
