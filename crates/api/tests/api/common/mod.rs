//! A cloud without packets: requests are answered as the server does it, and every answer is checked against Google's
//! schema of the method's response.

use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tombolo_api::{Outcome, Request, State, Verb, answer, methods, schema};
use tombolo_model::{Change, Seed, Timestamp};

/// A State and its clock.
pub(crate) struct Cloud {
    /// What there is.
    pub(crate) state: State,
    now: i64,
}

#[allow(dead_code, reason = "each test file uses a part of it")]
impl Cloud {
    /// An empty one.
    pub(crate) fn new() -> Cloud {
        let mut state = State::default();
        state.world = state.world.seeded(Seed::new(&[7; 32]));
        Cloud { state, now: 1_600_000_000_000 }
    }

    /// One with a project in which compute and redis are enabled.
    pub(crate) fn with_project(id: &str) -> Cloud {
        let mut cloud = Cloud::new();
        let enable = |service: &str| Change::ServiceEnable { project: id.into(), service: service.into() };
        for change in [
            Change::ProjectCreate(id.into()),
            enable("compute.googleapis.com"),
            enable("redis.googleapis.com"),
        ] {
            cloud.apply(&change);
        }
        cloud
    }

    /// Makes a change behind the API's back.
    pub(crate) fn apply(&mut self, change: &Change) {
        self.state.world = self.state.world.apply(change, Timestamp(self.now)).expect("a good change");
    }

    /// GETs, and expects an answer.
    pub(crate) fn get(&mut self, target: &str) -> Value {
        self.good("GET", target, json!(null))
    }

    /// POSTs, and expects an answer.
    pub(crate) fn post(&mut self, target: &str, body: Value) -> Value {
        self.good("POST", target, body)
    }

    /// PATCHes, and expects an answer.
    pub(crate) fn patch(&mut self, target: &str, body: Value) -> Value {
        self.good("PATCH", target, body)
    }

    /// DELETEs, and expects an answer.
    pub(crate) fn delete(&mut self, target: &str) -> Value {
        self.good("DELETE", target, json!(null))
    }

    /// Sends a request and expects an answer.
    pub(crate) fn good(&mut self, verb: &str, target: &str, body: Value) -> Value {
        match self.send(verb, target, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{verb} {target}: {error}"),
        }
    }

    /// Sends a DELETE and expects an operation that fails because the resource is used; returns why.
    pub(crate) fn used(&mut self, target: &str) -> String {
        let operation = self.delete(target);
        assert_eq!((&operation["status"], &operation["httpErrorStatusCode"]), (&json!("DONE"), &json!(400)));
        let error = &operation["error"]["errors"][0];
        assert_eq!(error["code"], "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "{operation}");
        error["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Sends a request and expects an error's body.
    pub(crate) fn refused(&mut self, verb: &str, target: &str, body: Value) -> Value {
        match self.send(verb, target, body) {
            Ok(answer) => panic!("{verb} {target} is not refused: {answer}"),
            Err(error) => error,
        }
    }

    /// Sends a request: the answer, or the error's body.
    pub(crate) fn send(&mut self, verb: &str, target: &str, body: Value) -> Result<Value, Value> {
        self.now += 1000;
        let verb = Verb::parse(verb).expect("a verb");
        let request = Request::new("localhost", verb, target, body);
        let api = methods::find(&request).map(|(method, _)| method.api).ok();
        let answered = self.answer(&request).map_err(|failure| failure.body(api));
        if let (Ok(answer), Ok((method, _))) = (&answered, methods::find(&request)) {
            conforms(method, answer);
        }
        answered
    }

    fn answer(&mut self, request: &Request) -> Result<Value, tombolo_api::Failure> {
        let now = Timestamp(self.now);
        match answer(&self.state, request, now)? {
            Outcome::Reply(reply) => Ok(reply),
            Outcome::Effect(effect) => Ok(json!({ "effect": format!("{effect:?}") })),
            Outcome::Commit(commit) => {
                if let Some(earlier) = commit.earlier(&self.state) {
                    return Ok(earlier.wire());
                }
                let (world, operation) = commit.begin(&self.state, now)?;
                let operation = commit.done(operation, &world, now);
                let reply = commit.reply(&operation, &world);
                self.state.world = world;
                commit.record(&mut self.state.operations, operation);
                Ok(reply)
            }
        }
    }
}

/// Panics unless the answer is a message of the method's response.
fn conforms(method: &methods::Method, answer: &Value) {
    // Compute's bundle takes a while to compile.
    static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let Some(name) = method.response else { return };
    let compile = || {
        let mut document = schema::bundle(method.api);
        document["$ref"] = json!(format!("#/$defs/{name}"));
        Arc::new(jsonschema::validator_for(&document).expect("a schema"))
    };
    let key = format!("{} {name}", method.api.name());
    let validator = VALIDATORS.lock().expect("no panic inside").entry(key).or_insert_with(compile).clone();
    let errors: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{} answers no {name}: {errors:#?}\n{answer:#}", method.id);
}

/// Panics unless an error's body has the code and the message.
#[allow(dead_code, reason = "each test file uses a part of it")]
pub(crate) fn check(error: &Value, code: u16, message: &str) {
    assert_eq!((&error["error"]["code"], &error["error"]["message"]), (&json!(code), &json!(message)));
}

/// A rule of a firewall policy, as it is sent, with these fields more or otherwise.
pub(crate) fn policy_rule(priority: i64, more: Value) -> Value {
    let mut body = json!({
        "priority": priority,
        "action": "deny",
        "direction": "INGRESS",
        "match": { "srcIpRanges": ["10.0.0.0/8"], "layer4Configs": [{ "ipProtocol": "tcp", "ports": ["22"] }] },
    });
    for (field, value) in more.as_object().expect("fields") {
        body[field.as_str()] = value.clone();
    }
    body
}
