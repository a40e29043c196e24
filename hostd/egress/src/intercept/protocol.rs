//! HTTP's two wire formats and what ALPN calls them.

/// A version of HTTP that is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// ALPN's name.
    pub(super) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// What was agreed upon; nothing means HTTP/1.1.
    pub(super) fn of_alpn(agreed: Option<&[u8]>) -> Self {
        if agreed == Some(Self::Http2.alpn()) {
            Self::Http2
        } else {
            Self::Http1
        }
    }

    /// Those of a client's list that we speak, in its order; no list means HTTP/1.1.
    pub(super) fn offered<'a>(list: Option<impl Iterator<Item = &'a [u8]>>) -> Vec<Self> {
        let known = |name: &[u8]| {
            [Self::Http2, Self::Http1]
                .into_iter()
                .find(|protocol| protocol.alpn() == name)
        };
        list.map_or_else(
            || vec![Self::Http1],
            |list| list.filter_map(known).collect(),
        )
    }
}
