//! HTTP heads: gathering them and finding fields in them.

use std::{borrow::Cow, mem};

use httparse::Header;

use super::NODE_HEADER;
use crate::node_id::NodeId;

/// Header fields of one head; more are refused.
pub(super) const HEADERS_MAX: usize = 64;

/// Adds received bytes to what there is of a head, and returns it when it is worth a judgement. After
/// the first bytes that is when it ends or is too long: a head that comes byte by byte must not cost
/// its length each time.
pub(crate) fn gather<'a>(
    head: &mut Vec<u8>,
    bytes: &'a [u8],
    head_bytes_max: usize,
) -> Option<Cow<'a, [u8]>> {
    if head.is_empty() {
        return Some(Cow::Borrowed(bytes));
    }
    let seam = head.len().saturating_sub(3);
    head.extend_from_slice(bytes);
    let has_blank_line = head[seam..].windows(2).any(|pair| pair == b"\n\n")
        || head[seam..].windows(3).any(|triple| triple == b"\n\r\n");
    (has_blank_line || head.len() >= head_bytes_max).then(|| Cow::Owned(mem::take(head)))
}

/// Header fields by lower-case name.
pub(super) struct Fields<'a>(pub(super) &'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// Values of the field that are text; a value that is not counts as empty, so it fits nothing.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self
            .0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| trim(std::str::from_utf8(field.value).unwrap_or_default()))
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// The value of a field that stands there exactly once.
    pub(super) fn only(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Elements of a comma-separated list, which may be spread over several fields.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let parts = self.all(name).flat_map(|value| value.split(','));
        parts.map(trim)
    }

    /// Whether such a list has the token, in upper or lower case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name)
            .any(|element| element.eq_ignore_ascii_case(token))
    }

    /// Whether a field names a node.
    pub(super) fn has_node(&self) -> bool {
        self.only(NODE_HEADER)
            .is_some_and(|id| id.parse::<NodeId>().is_ok())
    }
}

/// Without the white space that HTTP knows (RFC 9110 §5.6.3); str::trim knows much more.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that was judged with each piece of it would cost the square of its length.
    #[test]
    fn a_head_in_pieces_is_judged_when_it_begins_and_when_it_ends() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for piece_bytes in 1..request.len() {
            let mut pieces = request.chunks(piece_bytes);
            let first = pieces.next().expect("it is not empty");
            assert_eq!(gather(&mut Vec::new(), first, 1000).as_deref(), Some(first));
            let mut head = first.to_vec();
            let judged: Vec<_> = pieces
                .map(|piece| gather(&mut head, piece, 1000).is_some())
                .collect();
            let (last, before) = judged.split_last().expect("there are two pieces at least");
            assert!(
                *last && !before.contains(&true),
                "{piece_bytes}: {judged:?}"
            );
        }
        let mut head = request[..10].to_vec();
        assert!(gather(&mut head, b"x", 12).is_none());
        assert!(gather(&mut head, b"x", 12).is_some(), "it is too long");
    }
}
