//! The attempts as a table.

use std::fmt::Write as _;

use super::Row;

/// What came to something else than it may.
pub fn unexpected(rows: &[Row]) -> Vec<&Row> {
    let expected = |row: &&Row| row.expected.split(" or ").any(|one| one == row.result);
    rows.iter().filter(|row| !expected(row)).collect()
}

/// A table for each group, with what was expected, and what it came to.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = &row.group;
            let _ = write!(
                text,
                "\n## {group}\n\n| attempt | expected | result |\n|---|---|---|\n"
            );
        }
        let attempt = row.attempt.replace('|', "\\|");
        let _ = writeln!(text, "| {attempt} | {} | {} |", row.expected, row.result);
    }
    text
}
