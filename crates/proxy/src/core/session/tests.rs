use super::*;

fn session() -> Session {
    Session::new(0, 0, 0, (false, false))
}

/// Plays requests (`>`) and messages of the server (`<`); says whether the session is over after
/// each message.
fn play(script: &[(Effect, &[&str])]) -> String {
    let mut session = session();
    script.iter().for_each(|(effect, _)| session.sent(*effect, 1, None));
    let mut story = String::new();
    for frame in script.iter().flat_map(|(_, frames)| frames.iter()) {
        match session.message(frame.as_bytes()) {
            Verdict::Unasked => story.push('?'),
            Verdict::Swallow => story.push('x'),
            _ if session.is_over() => story.push('.'),
            _ => story.push('+'),
        }
    }
    story
}

const SUB_A: &str = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";
const SUB_B: &str = "*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";
const PSUB: &str = "*3\r\n$10\r\npsubscribe\r\n$1\r\na\r\n:2\r\n";
const UNSUB_1: &str = "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n";
const UNSUB_0: &str = "*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n";
const UNSUB_NIL: &str = "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n";
const MESSAGE: &str = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n";
const ARRAY: &str = "*1\r\n$7\r\nmessage\r\n";

#[test]
fn a_session_lasts_as_long_as_its_state() {
    use Effect::*;
    let hello = |version| Hello { protocol: Some(version), names: false, user: false };
    for (script, story) in [
        ([(Plain, ["+OK\r\n"].as_slice())].as_slice(), "."),
        (&[(Multi, &["+OK\r\n"]), (Plain, &["+QUEUED\r\n"]), (Exec, &["*1\r\n+OK\r\n"])], "++."),
        (&[(Multi, &["+OK\r\n"]), (Discard, &["+OK\r\n"])], "+."),
        (&[(Multi, &["+OK\r\n"]), (Exec, &["-EXECABORT x\r\n"])], "+."),
        (&[(Multi, &["+OK\r\n"]), (Multi, &["-ERR nested\r\n"]), (Exec, &["*0\r\n"])], "++."),
        (&[(Watch, &["+OK\r\n"]), (Exec, &["-ERR EXEC without MULTI\r\n"]), (Unwatch, &["+OK\r\n"])], "++."),
        (&[(Watch, &["+OK\r\n"]), (Multi, &["+OK\r\n"]), (Exec, &["*-1\r\n"])], "++."),
        // What SELECT does inside of a transaction is not known, so the connection stays.
        (&[(Multi, &["+OK\r\n"]), (Select(1), &["+QUEUED\r\n"]), (Exec, &["*1\r\n+OK\r\n"])], "+++"),
        (&[(Select(1), &["+OK\r\n"]), (Plain, &["$-1\r\n"]), (Select(0), &["+OK\r\n"])], "++."),
        (&[(Select(99), &["-ERR DB index is out of range\r\n"])], "."),
        (&[(Name(true), &["+OK\r\n"]), (Name(false), &["+OK\r\n"])], "+."),
        (&[(hello(3), &["%0\r\n"]), (hello(2), &["*0\r\n"])], "+."),
        (&[(hello(9), &["-NOPROTO x\r\n"])], "."),
        (&[(Pin, &[":1\r\n"])], "+"),
        (&[(Own, &["+PONG\r\n"]), (Wait, &[":0\r\n"])], "x."),
        (&[(Subscribe(2), &[SUB_A, SUB_B]), (UnsubscribeAll(Topic::Channel), &[UNSUB_1, UNSUB_0])], "+++."),
        (&[(Subscribe(1), &[SUB_A, MESSAGE]), (Plain, &["*2\r\n$4\r\npong\r\n$0\r\n\r\n"])], "+++"),
        (&[(UnsubscribeAll(Topic::Channel), &[UNSUB_NIL])], "."),
        (&[(Subscribe(0), &["-ERR wrong number\r\n"])], "."),
        (
            &[
                (Subscribe(1), &[SUB_A]),
                (Subscribe(1), &[PSUB]),
                (UnsubscribeAll(Topic::Channel), &[UNSUB_1]),
            ],
            "+++",
        ),
        // Without a subscription, such an array is a reply.
        (&[(Plain, &[ARRAY]), (Plain, &[MESSAGE])], "+."),
        // Nor with one in RESP3.
        (
            &[
                (hello(3), &["%0\r\n"]),
                (Subscribe(1), &[">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"]),
                (Plain, &[ARRAY]),
                (Plain, &[SUB_A, "+OK\r\n"]),
            ],
            "++++?",
        ),
        (&[(Multi, &["+OK\r\n"]), (hello(3), &["+QUEUED\r\n"]), (Exec, &["*0\r\n", "+OK\r\n"])], "++++"),
        (&[(Plain, &[">2\r\n$10\r\ninvalidate\r\n*0\r\n", "+OK\r\n"])], "+."),
        (&[(Plain, &["+OK\r\n", "+OK\r\n"])], ".?"),
        (&[(Mute, &["+OK\r\n", "+OK\r\n"])], "++"),
        (&[(Monitor, &["+OK\r\n", "+1.0 [0] x\r\n"])], "++"),
    ] {
        assert_eq!(play(script), story, "{script:?}");
    }
}

#[test]
fn replies_of_the_proxys_own_keep_their_place() {
    let mut session = session();
    assert!(!session.hold(b"at once"));
    session.sent(Effect::Blocking, 10, None);
    assert!(session.hold(b"after"));
    assert_eq!((session.waiting(), session.next_local()), ((2, 15), None));
    session.message(b"$-1\r\n");
    assert_eq!(session.next_local().as_deref(), Some(b"after".as_slice()));
    assert_eq!((session.waiting(), session.is_over()), ((0, 0), true));
}

#[test]
fn what_is_lost_with_a_connection() {
    let answers = |effects: &[Effect]| {
        let mut session = session();
        effects.iter().for_each(|effect| session.sent(*effect, 1, None));
        (session.relies_on_connection(), session.into_answers().count())
    };
    assert_eq!(answers(&[Effect::Blocking, Effect::Plain]), (false, 2));
    assert_eq!(answers(&[Effect::Plain, Effect::Multi]), (true, 2));
    assert_eq!(answers(&[Effect::Own, Effect::Wait]), (false, 1));
}

#[test]
fn time_runs_for_the_first_request_unless_it_may_wait() {
    let mut session = session();
    session.sent(Effect::Blocking, 1, None);
    session.sent(Effect::Plain, 1, None);
    session.start_clock(100, 5);
    assert_eq!(session.deadline, Micros::MAX);
    session.message(b"$-1\r\n");
    session.start_clock(200, 5);
    assert_eq!(session.deadline, 205);
    session.start_clock(200, Micros::MAX);
    assert_eq!(session.deadline, Micros::MAX);
}

/// Found by `tests/garbage.rs`: the bytes of what was held were forgotten, then subtracted.
#[test]
fn what_is_held_survives_the_loss_of_order() {
    let mut session = session();
    session.sent(Effect::Monitor, 7, None);
    assert!(session.hold(b"held"));
    session.message(b"+OK\r\n");
    assert_eq!(session.waiting(), (1, 4));
    assert_eq!(session.next_local().as_deref(), Some(b"held".as_slice()));
    assert_eq!(session.waiting(), (0, 0));
}

/// Plays messages of a session that ends; what the client gets, and what once the server has closed.
fn played(why: End, frames: &[&str]) -> (String, Option<&'static str>) {
    let mut session = session();
    session.sent(Effect::Mute, 1, None);
    assert!(session.end(why) && !session.end(why));
    assert_eq!(session.waiting().0, 1);
    let passed = frames.iter().flat_map(|frame| match session.message(frame.as_bytes()) {
        Verdict::Replace(frames) => frames,
        Verdict::Swallow => Vec::new(),
        verdict => panic!("{verdict:?}"),
    });
    let passed = String::from_utf8(passed.collect()).expect("text");
    (passed, session.ended().map(|(_, answer)| std::str::from_utf8(answer).expect("text")))
}

#[test]
fn the_last_two_answers_of_a_session_that_ends_are_about_its_end() {
    let (reset, ok) = ("+RESET\r\n", "+OK\r\n");
    for (frames, passed, [of_reset, of_quit]) in [
        ([reset, ok].as_slice(), "", [Some(reset), Some(ok)]),
        (&[ok], "", [Some(""), Some(ok)]),
        (&[ok, ok], ok, [Some(""), Some(ok)]),
        (&[ok, reset, ok], ok, [Some(reset), Some(ok)]),
        (&[reset, ok, reset, ok], "+RESET\r\n+OK\r\n", [Some(reset), Some(ok)]),
        (
            &[reset, reset, "$1\r\na\r\n", reset, ok],
            "+RESET\r\n+RESET\r\n$1\r\na\r\n",
            [Some(reset), Some(ok)],
        ),
        (&[ok, reset], ok, [None, None]),
        (&[], "", [None, None]),
    ] {
        let passed = passed.to_string();
        assert_eq!(played(End::Reset, frames), (passed.clone(), of_reset), "{frames:?}");
        assert_eq!(played(End::Quit, frames), (passed.clone(), of_quit), "{frames:?}");
        assert_eq!(played(End::Leave, frames), (passed, of_quit.map(|_| "")), "{frames:?}");
    }
}

#[test]
fn a_reply_that_will_come_goes_before_messages_that_may() {
    let waits = |effects: &[Effect], frames: &[&str]| {
        let mut session = session();
        effects.iter().for_each(|effect| session.sent(*effect, 1, None));
        frames.iter().for_each(|frame| drop(session.message(frame.as_bytes())));
        (session.waits_for_ever(), session.waits_only_for_ever(), session.end(End::Leave))
    };
    use Effect::{Blocking, Monitor, Mute, Plain, Replicate, Subscribe};
    assert_eq!(waits(&[Subscribe(1)], &[SUB_A]), (true, false, false));
    assert_eq!(waits(&[Subscribe(1), Plain], &[SUB_A]), (false, false, false));
    assert_eq!(waits(&[Subscribe(1), Blocking], &[SUB_A]), (true, true, false));
    assert_eq!(waits(&[Monitor], &["+OK\r\n"]), (true, false, false));
    assert_eq!(waits(&[Replicate], &[]), (true, false, false));
    assert_eq!(waits(&[Mute, Plain], &[]), (false, false, true));
    assert_eq!(waits(&[Mute, Plain, Blocking], &[]), (true, false, false));
}

#[test]
fn requests_wait_where_the_answers_before_decide_about_them() {
    let holds = |sent: Effect, next: Effect| {
        let mut session = session();
        session.sent(sent, 1, None);
        session.holds_back(next)
    };
    assert!(holds(Effect::Auth, Effect::Plain));
    assert!(holds(Effect::Monitor, Effect::Plain));
    assert!(holds(Effect::Begin, Effect::Plain));
    assert!(holds(Effect::Plain, Effect::Mute));
    assert!(holds(Effect::Plain, Effect::Replicate));
    assert!(!holds(Effect::Multi, Effect::Plain));
}
