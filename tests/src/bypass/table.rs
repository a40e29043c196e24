//! The attempts as a table.

use std::fmt::Write as _;

use super::Row;

/// What came to something else than it may.
pub fn unexpected(rows: &[Row]) -> Vec<&Row> {
    let expected = |row: &&Row| row.expected.split(" or ").any(|one| one == row.result);
    rows.iter().filter(|row| !expected(row)).collect()
}

/// Whether a document ends with this table, whatever the results in it: where more than one thing is expected, they vary.
pub fn expects_the_same(document: &str, table: &str) -> bool {
    let expected = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.starts_with(['|', '#']));
        let without_result = |line: &str| match line.rsplitn(3, '|').last() {
            Some(expected) if line.starts_with('|') => expected.to_owned(),
            _ => line.to_owned(),
        };
        rows.map(without_result).collect()
    };
    expected(document).ends_with(&expected(table))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_may_differ() {
        let row = Row {
            group: "One".into(),
            attempt: "to | fro".into(),
            expected: "a or b".into(),
            result: "b".into(),
            seconds: 0.0,
        };
        let table = markdown(std::slice::from_ref(&row));
        assert!(unexpected(std::slice::from_ref(&row)).is_empty());
        let other = Row {
            result: "a".into(),
            ..row.clone()
        };
        let document = format!("# Title\n\nText.\n{}", markdown(&[other]));
        assert!(expects_the_same(&document, &table));
        let wrong = Row {
            expected: "b".into(),
            ..row
        };
        assert!(!expects_the_same(&document, &markdown(&[wrong])));
    }
}
