//! Orders for drills: nothing begins to go wrong, and nothing ends, before that is durable.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;

use staunch_model::{DrillFault, Span};
use staunch_server::Drills;
use staunch_server::dto::{Commands, DRILL_LASTS_MAX, DrillStopped, DrillView, Status, path};

use super::{Options, Staunch, until};

const LIE: &str = r#"{"fault": "lie", "lasts": "1d", "reason": "a test"}"#;

/// What goes wrong, for nobody.
#[derive(Default)]
pub(crate) struct Faults {
    present: Mutex<Option<(DrillFault, Span)>>,
}

impl Faults {
    fn present(&self) -> Option<(DrillFault, Span)> {
        *self.present.lock().expect("no test panics in here")
    }
}

impl Drills for Faults {
    fn view(&self) -> DrillView {
        DrillView {
            scope: vec!["192.0.2.0/28".to_owned()],
            fault: self.present().map(|it| it.0),
            left: self.present().map(|it| it.1),
        }
    }

    fn order(&self, fault: DrillFault, lasts: Span) {
        *self.present.lock().expect("no test panics in here") = Some((fault, lasts));
    }

    fn stop(&self) -> Option<DrillFault> {
        let was = self.present.lock().expect("no test panics in here").take();
        was.map(|(fault, _)| fault)
    }
}

/// What operators asked for, oldest first.
fn recorded(staunch: &Staunch) -> Vec<(String, String)> {
    staunch.wait_for_index();
    let commands: Commands = staunch.client().get(path::COMMANDS).json();
    let all = commands.commands.into_iter().rev();
    all.map(|it| (it.command.to_string(), it.reason)).collect()
}

#[test]
fn nothing_begins_before_it_is_durable_and_an_end_is_at_once() {
    let staunch = Staunch::start(Options::default());
    let lie = Some((DrillFault::Lie, DRILL_LASTS_MAX));
    for (path, body, before, after) in [(path::DRILL, LIE, None, lie), (path::DRILL_STOP, "{}", None, None)] {
        staunch.gate.close();
        let client = staunch.client();
        let order = std::thread::spawn(move || client.post(path, body));
        staunch.gate.wait_for_arrivals(1);
        assert_eq!(staunch.faults.present(), before, "{path}: nothing of it is durable");
        staunch.gate.open();
        let answer = order.join().expect("it was answered");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(staunch.faults.present(), after, "{path}");
        let status: Status = staunch.client().get(path::STATUS).json();
        assert_eq!(status.drill.map(|it| it.fault), after.map(|it| it.0));
    }
    let again: DrillStopped = staunch.client().post(path::DRILL_STOP, "{}").json();
    assert_eq!(again.ended, None);
    let lie = r#"{"drill":{"fault":"lie","lasts":"10m"}}"#.to_owned();
    let expect = [(lie, "a test".to_owned()), ("\"stopdrill\"".to_owned(), String::new())];
    assert_eq!(recorded(&staunch), expect);
}

#[test]
fn what_an_order_begins_that_came_before_a_stop_is_ended_by_it() {
    let staunch = Staunch::start(Options::default());
    staunch.gate.close();
    let client = staunch.client();
    let order = std::thread::spawn(move || client.post(path::DRILL, LIE));
    staunch.gate.wait_for_arrivals(1);
    let client = staunch.client();
    let stop = std::thread::spawn(move || client.post(path::DRILL_STOP, "{}"));
    staunch.gate.open();
    assert_eq!(order.join().expect("it was answered").status, 200);
    let stopped: DrillStopped = stop.join().expect("it was answered").json();
    assert_eq!((stopped.ended, staunch.faults.present()), (Some(DrillFault::Lie), None));
}

/// What is recorded is done, whether or not anybody waits for the answer.
#[test]
fn an_order_is_carried_out_when_its_client_has_gone() {
    let staunch = Staunch::start(Options::default());
    assert_eq!(staunch.client().post(path::DRILL, LIE).status, 200);
    staunch.gate.close();
    let mut client = TcpStream::connect(staunch.address).expect("it listens");
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 2\r\n\r\n{{}}",
        path::DRILL_STOP,
        staunch.operator
    );
    client.write_all(request.as_bytes()).expect("it reads");
    staunch.gate.wait_for_arrivals(1);
    drop(client);
    staunch.gate.open();
    until("the fault has ended", || staunch.faults.present().is_none());
    assert_eq!(recorded(&staunch).len(), 2);
}

#[test]
fn one_fault_at_a_time_and_none_that_is_not_known() {
    let staunch = Staunch::start(Options::default());
    for (body, says) in [
        (r#"{"lasts": "1m", "reason": "a test"}"#, "missing field `fault`"),
        (
            r#"{"fault": "stall", "lasts": "1m", "reason": "a test"}"#,
            "unknown variant `stall`",
        ),
        (r#"{"fault": "lie", "lasts": "1m", "reason": " "}"#, "`reason` is blank"),
        (r#"{"fault": "lie", "lasts": "1m"}"#, "missing field `reason`"),
    ] {
        let problem = staunch.client().post(path::DRILL, body).problem(400, "malformed");
        assert!(problem.detail.contains(says), "{body}: {problem:?}");
    }
    let blank = staunch.client().post(path::DRILL_STOP, r#"{"reason": "\u200b"}"#);
    assert!(blank.problem(400, "malformed").detail.contains("`reason` is blank"));
    assert_eq!((staunch.faults.present(), recorded(&staunch)), (None, Vec::new()));
    assert_eq!(staunch.client().post(path::DRILL, LIE).status, 200);
    let second = staunch.client().post(path::DRILL, LIE).problem(409, "drill-under-way");
    assert!(
        second.hint.is_some_and(|it| it.contains("staunch drill stop")),
        "{:?}",
        second.detail
    );
    assert_eq!(recorded(&staunch).len(), 1);
}
