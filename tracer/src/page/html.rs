//! Writes HTML so that nothing that a container chose is ever markup: what is not a literal of this program is escaped.
//! It knows nothing of events.

use std::fmt::Write as _;

use serde::Serialize;

use crate::numbers;

/// HTML in the making. [`Self::raw`] takes literals only; all else is text.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup, or words of ours.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Any text, for an element or an attribute in double quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for char in shown(text).chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                _ => self.0.push(char),
            }
        }
        self
    }

    /// A document of several lines, as [`Self::text`], its line feeds kept.
    pub(super) fn lines(&mut self, text: &str) -> &mut Self {
        for line in text.lines() {
            self.text(line).raw("\n");
        }
        self
    }

    /// JSON, for a script element.
    pub(super) fn json(&mut self, value: &impl Serialize) -> &mut Self {
        self.0.push_str(&json(value));
        self
    }

    /// What is base64 already; other bytes are left out.
    pub(super) fn base64(&mut self, text: &str) -> &mut Self {
        self.0.extend(
            text.chars()
                .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '=')),
        );
        self
    }

    /// A number as it is, for attributes.
    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        let _infallible = write!(self.0, "{}", number.into());
        self
    }

    /// A number with its thousands set apart.
    pub(super) fn count(&mut self, count: u64) -> &mut Self {
        self.0.push_str(&grouped(count));
        self
    }

    /// `1.83 µs`
    pub(super) fn duration(&mut self, ns: u64) -> &mut Self {
        self.0.push_str(&duration(ns));
        self
    }

    /// `4.1 KiB`
    pub(super) fn bytes(&mut self, bytes: u64) -> &mut Self {
        let mut value = bytes as f64;
        let mut unit = "B";
        for larger in ["KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 {
                break;
            }
            (value, unit) = (value / 1024.0, larger);
        }
        let digits = usize::from(unit != "B" && value < 100.0);
        let _infallible = write!(self.0, "{value:.digits$} {unit}");
        self
    }

    /// A share of the whole as `12.3`, in percent.
    pub(super) fn percent(&mut self, part: u64, whole: u64) -> &mut Self {
        let share = part as f64 * 100.0 / whole.max(1) as f64;
        let _infallible = write!(self.0, "{share:.1}");
        self
    }

    /// A number from 0 to 1 with two digits, for attributes.
    pub(super) fn fraction(&mut self, share: f64) -> &mut Self {
        let _infallible = write!(self.0, "{share:.2}");
        self
    }

    /// UTC, to the millisecond.
    pub(super) fn time(&mut self, ns: u64) -> &mut Self {
        self.0.push_str(&time(ns));
        self
    }

    /// A table cell that is sorted by a number.
    pub(super) fn cell(&mut self, sort: u64, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.raw("<td class=n data-v=").number(sort).raw(">");
        write(self);
        self.raw("</td>")
    }

    /// A cell with a count; none where it is nothing.
    pub(super) fn count_cell(&mut self, count: u64) -> &mut Self {
        self.cell(count, |html| {
            if count > 0 {
                html.count(count);
            }
        })
    }
}

/// `1,234,567`
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits, and the unit.
pub(super) fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => (ns as f64 / 1e9, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            return if hours > 0 {
                format!("{hours} h {minutes} min")
            } else {
                format!("{minutes} min {} s", seconds % 60)
            };
        }
    };
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// UTC, to the millisecond.
pub(super) fn time(ns: u64) -> String {
    let at = numbers::utc(i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX));
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        at.year,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second,
        ns / 1_000_000 % 1_000
    )
}

/// What a container chose, as the text output shows it: printable ASCII as it is, each other byte as three octal digits.
/// So neither control characters nor those that turn the direction of writing reach a page.
pub(super) fn shown(text: &str) -> String {
    bytes_shown(text.as_bytes())
}

/// The same of bytes.
pub(super) fn bytes_shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b' '..=b'~' => shown.push(char::from(byte)),
            _ => {
                let _infallible = write!(shown, "\\{byte:03o}");
            }
        }
    }
    shown
}

/// JSON that may stand in a script element: no `<`, which alone could end the element or begin a comment, and no
/// character beyond ASCII.
fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).unwrap_or_else(|_unreachable| "null".to_owned());
    let mut text = String::with_capacity(plain.len());
    for char in plain.chars() {
        match char {
            '<' | '>' | '&' => {
                let _infallible = write!(text, "\\u{:04x}", u32::from(char));
            }
            ' '..='~' => text.push(char),
            _ => {
                for half in char.encode_utf16(&mut [0; 2]) {
                    let _infallible = write!(text, "\\u{half:04x}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        html.text("</script><img src=x onerror=\"a('b')\">&\u{202e}\u{2028}\x1b\n\u{0}");
        assert_eq!(
            html.into_string(),
            "&lt;/script&gt;&lt;img src=x onerror=&quot;a(&#39;b&#39;)&quot;&gt;&amp;\\342\\200\\256\\342\\200\\250\\033\\012\\000"
        );
    }

    #[test]
    fn json_never_ends_its_element() {
        let text = json(&["</script><!--", "\u{2028}\u{202e}\u{1f600}", "a\"b\\"]);
        assert!(text.is_ascii() && !text.contains(['<', '>', '&']), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["</script><!--", "\u{2028}\u{202e}\u{1f600}", "a\"b\\"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [999, 1_000, 18_300, 183_000_000, 119_000_000_000, 121_000_000_000].map(duration),
            ["999 ns", "1.00 µs", "18.3 µs", "183 ms", "119 s", "2 min 1 s"]
        );
        assert_eq!(time(1_795_370_591_123_456_789), "2026-11-22 18:03:11.123");
        let mut html = Html::default();
        html.bytes(512).raw(" ").bytes(4_200).raw(" ").bytes(5 << 30);
        assert_eq!(html.into_string(), "512 B 4.1 KiB 5.0 GiB");
    }
}
