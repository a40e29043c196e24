//! Printing: tables and JSON on standard output, safe against what a guest chose to say.

use std::io::{self, Write};

use crate::error::Error;

/// Prints one line.
pub fn line(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Error::stdout)
}

/// Prints a value, indented.
pub fn json(value: &serde_json::Value) -> Result<(), Error> {
    line(&format!("{value:#}"))
}

/// Prints rows below their headings, in columns as wide as they need to be.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Result<(), Error> {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|r| r.each_ref().map(|c| printable(c)))
        .collect();
    let mut widths = headings.map(|h| h.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = row_text(&widths, headings);
    for row in &rows {
        text.push_str(&row_text(&widths, row.each_ref().map(String::as_str)));
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::stdout)
}

fn row_text<const N: usize>(widths: &[usize; N], cells: [&str; N]) -> String {
    let padded: Vec<String> = widths
        .iter()
        .zip(cells)
        .map(|(width, cell)| format!("{cell:width$}"))
        .collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// Control characters as escapes: a guest's words may not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// The same for text of several lines, whose line ends and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let cells: Vec<String> = line.split('\t').map(printable).collect();
            cells.join("\t")
        })
        .collect();
    lines.join("\n")
}

/// `536870912` as `512 MiB`: a whole number of the largest unit below it.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let widths = [4, 2];
        assert_eq!(row_text(&widths, ["ab", "c"]), "ab    c\n");
        assert_eq!(row_text(&widths, ["abcd", ""]), "abcd\n");
    }

    #[test]
    fn escapes_are_shown_not_obeyed() {
        assert_eq!(printable("\x1b[2Jhi\n"), "\\u{1b}[2Jhi\\n");
        assert_eq!(printable_lines("a\tb\r\nc\x07"), "a\tb\nc\\u{7}");
    }

    #[test]
    fn sizes() {
        assert_eq!(size(512 << 20), "512 MiB");
        assert_eq!(size(16 << 30), "16 GiB");
        assert_eq!(size(100), "100 B");
    }
}
