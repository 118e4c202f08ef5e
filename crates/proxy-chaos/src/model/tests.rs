use super::*;

fn token(serial: u64) -> Token {
    Token { client: 1, slot: 0, serial }
}

fn wrong(check: Check) -> Option<Wrong> {
    check.err().map(|finding| finding.wrong)
}

#[test]
fn a_register_has_its_last_value_or_one_in_doubt_once() {
    let mut register = Register::default();
    register.wrote(Some(token(1)), 0);
    register.doubt(Some(token(2)), 0);
    register.wrote(Some(token(3)), 0);
    assert_eq!(wrong(register.read(Some(token(3)), 0)), None);
    assert_eq!(wrong(register.clone().read(Some(token(1)), 0)), Some(Wrong::Duplicated));
    assert_eq!(wrong(register.read(Some(token(2)), 0)), None, "a frozen server ran it late");
    register.wrote(Some(token(4)), 0);
    assert_eq!(wrong(register.read(Some(token(2)), 0)), Some(Wrong::Duplicated), "but only once");
}

#[test]
fn a_value_is_gone_only_after_a_kill_or_a_del() {
    let mut register = Register::default();
    register.wrote(Some(token(1)), 3);
    assert_eq!(register.exists(3), (true, true));
    assert_eq!(wrong(register.clone().read(None, 3)), Some(Wrong::Lost));
    assert_eq!(register.exists(4), (false, true));
    assert_eq!(wrong(register.read(None, 4)), None);
    assert_eq!(wrong(register.read(Some(token(1)), 4)), Some(Wrong::Duplicated), "it does not come back");
    register.doubt(None, 4);
    register.wrote(Some(token(2)), 4);
    assert_eq!(wrong(register.read(None, 4)), None);
}

#[test]
fn a_del_in_doubt_may_run_after_a_kill_took_the_value() {
    let mut register = Register::default();
    register.wrote(Some(token(1)), 3);
    register.doubt(None, 4);
    assert_eq!(wrong(register.read(None, 4)), None, "the kill or the DEL");
    register.wrote(Some(token(2)), 4);
    assert_eq!(wrong(register.read(None, 4)), None, "a frozen server ran the DEL late");
    register.wrote(Some(token(3)), 4);
    assert_eq!(wrong(register.read(None, 4)), Some(Wrong::Lost), "but only once");
}

#[test]
fn a_counter_counts_each_increment_once() {
    let mut counter = Counter::default();
    assert_eq!(wrong(counter.counted(1, 0, 0)), None);
    assert_eq!(wrong(counter.clone().counted(3, 0, 0)), Some(Wrong::Duplicated));
    assert_eq!(wrong(counter.clone().counted(1, 0, 0)), Some(Wrong::Lost));
    counter.doubt();
    counter.doubt();
    assert_eq!(wrong(counter.clone().counted(5, 0, 0)), Some(Wrong::Duplicated));
    assert_eq!(wrong(counter.counted(3, 0, 0)), None);
    assert_eq!(counter.doubts(), 1);
    assert_eq!(wrong(counter.counted(1, 1, 1)), None, "from the beginning, after a kill");
    assert_eq!(wrong(counter.counted(4, 1, 1)), Some(Wrong::Duplicated));
}

#[test]
fn a_journal_has_no_token_twice_and_loses_none() {
    let text = |serials: &[u64]| serials.iter().map(|serial| token(*serial).text()).collect::<String>();
    let mut journal = Journal::default();
    for serial in 1..=3 {
        let length = serial * LENGTH as u64;
        assert_eq!(wrong(journal.appended(token(serial), length, serial / 3, 0)), None);
    }
    journal.doubt(token(9));
    for (serials, kills, expected) in [
        ([1, 2, 3].as_slice(), 0, None),
        (&[1, 9, 2, 3], 0, None),
        (&[1, 2, 2, 3], 0, Some(Wrong::Duplicated)),
        (&[1, 9, 2, 9, 3], 0, Some(Wrong::Duplicated)),
        (&[2, 1, 3], 0, Some(Wrong::Reordered)),
        (&[1, 2, 3, 8], 0, Some(Wrong::Reordered)),
        (&[2, 3], 0, Some(Wrong::Lost)),
        (&[2, 3], 1, None),
        (&[9, 3], 1, None),
        (&[9], 1, Some(Wrong::Lost)),
        (&[9], 2, None),
        (&[1, 2], 2, Some(Wrong::Reordered)),
    ] {
        assert_eq!(wrong(journal.read(text(serials).as_bytes(), kills)), expected, "{serials:?} {kills}");
    }
    assert_eq!(wrong(journal.read(b"half a token", 0)), Some(Wrong::Reordered));
    let twice = journal.clone().appended(token(10), 6 * LENGTH as u64, 1, 0);
    assert_eq!(wrong(twice), Some(Wrong::Duplicated));
    assert_eq!(wrong(journal.appended(token(10), 5 * LENGTH as u64, 1, 0)), None);
}
