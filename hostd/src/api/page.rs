//! Pages: sizes, and tokens that say where a list goes on. A token is `<microseconds since 1970>.<id>` of the last
//! item given, so it stays right while items come and go.

use crate::database::Cursor;
use crate::error::{Error, Result};

/// When a client does not say.
const DEFAULT_SIZE: usize = 100;
/// The most of one page.
pub const MAX_SIZE: u32 = 1000;

/// The size of a page: 1..=1000, and 0 for 100.
pub fn size(asked: u32) -> Result<usize> {
    match asked {
        0 => Ok(DEFAULT_SIZE),
        1..=MAX_SIZE => Ok(asked as usize),
        _ => Err(Error::invalid(
            "page_size",
            format!("must be from 1 to {MAX_SIZE}; 0 means {DEFAULT_SIZE}"),
        )),
    }
}

/// Where a list of sandboxes goes on; empty: at its beginning.
pub fn sandboxes_after(token: &str) -> Result<Option<Cursor>> {
    split(token)?
        .map(|(created, id)| {
            Ok(Cursor {
                created,
                id: id.parse().map_err(|_| bad_token())?,
            })
        })
        .transpose()
}

/// The token for what follows this sandbox.
pub fn sandboxes_token(cursor: &Cursor) -> String {
    format!("{}.{}", cursor.created, cursor.id)
}

/// The time and id in a token; `None` for an empty one.
pub fn split(token: &str) -> Result<Option<(i64, &str)>> {
    if token.is_empty() {
        return Ok(None);
    }
    let (created, id) = token.split_once('.').ok_or_else(bad_token)?;
    Ok(Some((created.parse().map_err(|_| bad_token())?, id)))
}

fn bad_token() -> Error {
    Error::invalid("page_token", "is not from an earlier answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SandboxId;

    #[test]
    fn tokens_are_read_back_and_nonsense_is_refused() {
        let cursor = Cursor {
            created: 17,
            id: SandboxId::generate(),
        };
        assert_eq!(
            sandboxes_after(&sandboxes_token(&cursor)).unwrap(),
            Some(cursor)
        );
        assert_eq!(sandboxes_after("").unwrap(), None);
        for bad in ["x", "1.", "1.sbx_", "x.sbx_loc_00000000000000000000"] {
            assert!(sandboxes_after(bad).is_err(), "{bad}");
        }
        assert!(size(1001).is_err());
    }
}
