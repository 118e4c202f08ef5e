//! What to say of names that there are not.

use tombolo_topology::{closest, nearest};

/// How many names are told.
const TOLD: usize = 8;

/// What there is instead of a name: `: did you mean 'vm-1'? (there is: vm-1, vm-2, and 1998 more)`.
pub(crate) fn instead<'w>(given: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let known = nearest(given, known);
    let meant = closest(given, known.iter().copied());
    let meant = meant.map(|name| format!(": did you mean '{name}'?")).unwrap_or_default();
    let told = known.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
    match known.len() {
        0 => " (there is none)".into(),
        1..=TOLD => format!("{meant} (there is: {told})"),
        many => format!("{meant} (there is: {told}, and {} more)", many - TOLD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_told_and_the_nearest_first() {
        assert_eq!(instead("vm-1", []), " (there is none)");
        assert_eq!(instead("x", ["web", "db", "web"]), " (there is: db, web)");
        assert_eq!(instead("wbe", ["db", "web"]), ": did you mean 'web'? (there is: web, db)");
        let names: Vec<String> = (0..2000).map(|i| format!("vm-{i}")).collect();
        let said = instead("vm-1234x", names.iter().map(String::as_str));
        assert!(said.starts_with(": did you mean 'vm-1234'? (there is: vm-1234, "), "{said}");
        assert!(said.ends_with(", and 1992 more)") && said.len() < 160, "{said}");
    }
}
