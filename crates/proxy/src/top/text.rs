//! A report as lines of text for a terminal of some size. Pure.

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::report::{HotKey, PoolReport, Report, ServerReport, SlowRequest};

/// The narrowest that columns are laid out for.
const LEAST_WIDTH: usize = 60;
/// Slow requests that are shown of a pool.
const SLOW: usize = 3;
/// What the columns beside a server's name take.
const SERVER_COLUMNS: usize = 55;

const PLAIN: Style = Style::new();
const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// A line: texts and how they look.
pub(super) type Line = Vec<(Style, String)>;

/// The lines of a report; `from` says who was asked.
pub(super) fn lines(report: &Report, from: &str, width: usize, height: Option<usize>) -> Vec<Line> {
    let width = width.max(LEAST_WIDTH);
    let mut lines = vec![head(report, from)];
    let servers: usize = report.pools.iter().map(|pool| pool.servers.len()).sum();
    // What is left for keys when everything else is there.
    let slow = report.pools.iter().filter_map(|pool| pool.slow.as_ref().filter(|slow| !slow.is_empty()));
    let slow: usize = slow.map(|slow| slow.len().min(SLOW) + 1).sum();
    let fixed = 1 + report.pools.len() * 5 + servers + slow;
    let keys =
        height.map_or(10, |height| (height.saturating_sub(fixed) / report.pools.len().max(1)).clamp(3, 20));
    for pool in &report.pools {
        lines.push(Line::new());
        self::pool(&mut lines, pool, width, keys);
    }
    if let Some(height) = height.filter(|height| lines.len() > *height) {
        let hidden = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(vec![(DIM, format!("… {hidden} more lines"))]);
    }
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// Lines as text, with escape sequences if there is to be `color`.
pub(super) fn text(lines: &[Line], color: bool, end: &str) -> String {
    let mut out = String::new();
    for line in lines {
        for (style, text) in line {
            match color {
                true => out.push_str(&format!("{style}{text}{style:#}")),
                false => out.push_str(text),
            }
        }
        while !color && out.ends_with(' ') {
            out.pop();
        }
        out.push_str(end);
    }
    out
}

fn head(report: &Report, from: &str) -> Line {
    let threads = if report.workers == 1 { "thread" } else { "threads" };
    vec![
        (HEAD, format!("tombolo-proxy {}", report.version)),
        (PLAIN, format!("  {from}  up {}  {} {threads}", span(report.uptime_seconds), report.workers)),
        (DIM, format!("  per {} s", round(report.interval_seconds))),
        (BAD, if report.draining { "  draining".to_string() } else { String::new() }),
    ]
}

fn pool(lines: &mut Vec<Line>, pool: &PoolReport, width: usize, keys: usize) {
    let errors = if pool.errors_per_second > 0.0 { BAD } else { PLAIN };
    lines.push(vec![
        (HEAD, format!("pool {}", clean(&pool.name))),
        (PLAIN, format!("  {} req/s", count(pool.requests_per_second))),
        (PLAIN, format!("  p50 {}  p99 {}", time(pool.p50_seconds), time(pool.p99_seconds))),
        (errors, format!("  {} errors/s", count(pool.errors_per_second))),
    ]);
    lines.push(vec![(
        DIM,
        format!(
            "  {} clients, {} on connections of their own, {} paused, {} buffered",
            count(pool.clients as f64),
            count(pool.dedicated as f64),
            count(pool.paused as f64),
            bytes(pool.buffered_bytes as f64)
        ),
    )]);
    let longest = pool.servers.iter().map(|server| clean(&server.name).width()).max().unwrap_or(0);
    let room = width - SERVER_COLUMNS;
    let name = longest.max(6).min(room);
    lines.push(vec![(
        DIM,
        format!("  {}  STATE    REQ/S     IN/S    OUT/S  WAIT CONN  FAILED", pad("SERVER", name)),
    )]);
    pool.servers.iter().for_each(|server| lines.push(self::server(server, name)));
    hot_keys(lines, pool, name, width, keys);
    let Some(slow) = pool.slow.as_ref().filter(|slow| !slow.is_empty()) else { return };
    lines.push(vec![(DIM, format!("  {:>8}  SERVER, REQUEST", "SLOW"))]);
    slow.iter().take(SLOW).for_each(|request| lines.push(slow_request(request)));
}

fn hot_keys(lines: &mut Vec<Line>, pool: &PoolReport, name: usize, width: usize, keys: usize) {
    let Some(hot) = pool.hot_keys.as_ref().filter(|hot| !hot.is_empty()) else { return };
    let longest = hot.iter().take(keys).map(|key| clean(&key.key).width()).max().unwrap_or(0);
    let name = longest.clamp(name, width - 20);
    lines.push(vec![(DIM, format!("  {}  {:>7}  SHARE", pad("HOT KEY", name), "~REQ/S"))]);
    hot.iter().take(keys).for_each(|key| lines.push(hot_key(key, name)));
}

fn server(server: &ServerReport, name: usize) -> Line {
    let failed: u64 = server.failures.values().sum();
    let kinds: Vec<String> = server.failures.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("  {}", kinds.join(", ")) };
    vec![
        (PLAIN, format!("  {}  ", pad(&clean(&server.name), name))),
        (if server.state == "up" { GOOD } else { BAD }, format!("{:<7}", server.state)),
        (
            PLAIN,
            format!(
                " {:>6} {:>8} {:>8} {:>5} {:>4}",
                count(server.requests_per_second),
                bytes(server.request_bytes_per_second),
                bytes(server.response_bytes_per_second),
                count(server.pending as f64),
                server.connections
            ),
        ),
        (if failed > 0 { BAD } else { PLAIN }, format!(" {:>7}", count(failed as f64))),
        (DIM, kinds),
    ]
}

fn hot_key(key: &HotKey, name: usize) -> Line {
    let text = pad(&clean(&key.key), name);
    let share = format!("{:.1} %", key.share * 100.0);
    vec![(PLAIN, format!("  {text}  {:>7} {share:>6}", count(key.requests_per_second)))]
}

fn slow_request(request: &SlowRequest) -> Line {
    let took = time(Some(request.duration as f64 / 1e6));
    let words = request.arguments.iter().map(|argument| clean(argument)).collect::<Vec<_>>().join(" ");
    vec![(PLAIN, format!("  {took:>8}  {}  {words}", clean(&request.server)))]
}

/// Text without what a terminal would obey.
fn clean(text: &str) -> String {
    let shown = |char: char| match char {
        char if char.is_control() => char.escape_default().collect::<String>(),
        char => char.to_string(),
    };
    text.chars().map(shown).collect()
}

/// `text` in exactly so many columns.
fn pad(text: &str, width: usize) -> String {
    let text = shorten(text, width);
    let missing = width.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

/// `text` in so many columns at most.
fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_string();
    }
    let mut short = String::new();
    let mut used = 1;
    for char in text.chars() {
        used += char.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(char);
    }
    short + "…"
}

pub(super) fn cut(line: Line, width: usize) -> Line {
    let mut left = width;
    let mut out = Line::new();
    for (style, text) in line {
        let text = shorten(&text, left);
        left -= text.width().min(left);
        out.push((style, text));
        if left == 0 {
            break;
        }
    }
    out
}

fn round(value: f64) -> String {
    format!("{:.1}", value).trim_end_matches(".0").to_string()
}

/// A number in six columns at most.
fn count(value: f64) -> String {
    match value {
        value if value <= 0.0 => "0".to_string(),
        value if value < 10.0 => round(value),
        value if value < 99_999.5 => format!("{value:.0}"),
        value if value < 9_999_500.0 => format!("{:.0}k", value / 1e3),
        value => format!("{:.0}M", value / 1e6),
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1000.0 {
            let digits = usize::from(value < 10.0 && unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_string(),
        Some(time) if time < 0.001 => format!("{:.0} µs", time * 1e6),
        Some(time) if time < 0.01 => format!("{:.1} ms", time * 1e3),
        Some(time) if time < 1.0 => format!("{:.0} ms", time * 1e3),
        Some(time) => format!("{time:.1} s"),
    }
}

fn span(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(servers: usize, name: &str) -> Report {
        let server = ServerReport {
            name: name.to_string(),
            state: "down",
            requests_per_second: 123_456.0,
            request_bytes_per_second: 2e6,
            response_bytes_per_second: 7e9,
            pending: 12,
            connections: 4,
            failures: [("refused".to_string(), 3), ("timed_out".to_string(), 1)].into(),
        };
        let key = HotKey { key: "k\u{1b}[2J鍵".repeat(20), requests_per_second: 5.0, share: 1.0 };
        let slow = SlowRequest {
            timestamp: 0,
            duration: 12_345,
            client: String::new(),
            server: name.to_string(),
            arguments: vec!["SET".to_string(), "k\u{1b}".to_string()],
        };
        let pool = PoolReport {
            name: "p".to_string(),
            requests_per_second: 9.94,
            p50_seconds: Some(0.00012),
            p99_seconds: None,
            errors_per_second: 1.0,
            clients: 3,
            dedicated: 2,
            paused: 1,
            buffered_bytes: 1500,
            servers: vec![server; servers],
            hot_keys: Some(vec![key; 20]),
            slow: Some(vec![slow; 9]),
        };
        Report {
            version: "1".to_string(),
            uptime_seconds: 4000.0,
            workers: 1,
            draining: true,
            interval_seconds: 2.0,
            pools: vec![pool],
        }
    }

    #[test]
    fn lines_fit_the_screen() {
        for (width, height, servers) in [(80, 24, 1), (60, 10, 30), (200, 50, 4), (20, 5, 2), (80, 1, 1)] {
            let lines = lines(&report(servers, &"server-".repeat(30)), "here", width, Some(height));
            assert!(lines.len() <= height, "{width}x{height}");
            for line in &lines {
                let text: String = line.iter().map(|(_, text)| text.as_str()).collect();
                assert!(text.width() <= width.max(LEAST_WIDTH), "{width}: {text}");
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    }

    #[test]
    fn a_name_gives_way_to_the_columns_and_to_nothing_else() {
        let name = format!("{}.example.com:6379", "server-".repeat(10));
        let plain = |width| text(&lines(&report(1, &name), "here", width, None), false, "\n");
        for width in [60, 80, 100] {
            let narrow = plain(width);
            assert!(narrow.contains("  FAILED\n") && narrow.contains("…  down "), "{width}: {narrow}");
            assert!(narrow.contains("    12    4       4"), "{width}: {narrow}");
        }
        assert!(plain(160).contains(&format!("  {name}  down ")), "{}", plain(160));
    }

    #[test]
    fn the_essence_is_there_without_color() {
        let plain = text(&lines(&report(1, "127.0.0.1:6379"), "here", 100, None), false, "\n");
        for part in [
            "up 1 h 6 min  1 thread",
            "  draining\n",
            "9.9 req/s  p50 120 µs  p99 -  1 errors/s",
            "refused 3, timed_out 1",
            "     12 ms  127.0.0.1:6379  SET k\\u{1b}\n",
        ] {
            assert!(plain.contains(part), "{part}: {plain}");
        }
        assert!(
            plain.contains("127.0.0.1:6379  down      123k  1.9 MiB  6.5 GiB    12    4       4"),
            "{plain}"
        );
        assert!(!plain.contains('\u{1b}'));
        assert!(text(&lines(&report(1, "x"), "here", 100, None), true, "\n").contains("\u{1b}[31mdown"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 0.04, 9.96, 99_999.0, 1e5, 1e7].map(count),
            ["0", "0", "10", "99999", "100k", "10M"]
        );
        assert_eq!(
            [0.0, 999.0, 1000.0, 1e6, 1e13].map(bytes),
            ["0 B", "999 B", "1.0 KiB", "977 KiB", "9313.2 GiB"]
        );
        assert_eq!([59.0, 61.0, 90_061.0].map(span), ["59 s", "1 min", "1 d 1 h"]);
    }
}
