//! Errors as Google's APIs give them: a code, a reason and a message, in the body that the API uses.

use crate::methods::{Api, Method};
use crate::request::Request;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tombolo_model::Refusal;

/// Why a request is not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// Compute's reason, such as `notFound`. For the other APIs see [`Failure::status`].
    pub reason: String,
    /// The message.
    pub message: String,
    /// What `details` has beside the message, for the APIs that have it.
    pub details: Vec<Value>,
    /// The parameter of the query that is to blame, where Google names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Failure {
        let (reason, message) = (reason.to_owned(), message.into());
        Failure { code, reason, message, details: Vec::new(), parameter: None }
    }

    /// 400 `invalid`.
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure::new(400, "invalid", message)
    }

    /// 400 `invalidParameter`: a parameter of the query has a value that cannot be accepted.
    pub fn invalid_parameter(parameter: &str, message: impl Into<String>) -> Failure {
        let parameter = Some(parameter.to_owned());
        Failure { parameter, ..Failure::new(400, "invalidParameter", message) }
    }

    /// 400 `badRequest`.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(400, "badRequest", message)
    }

    /// 400 `required`: a field that must be there is not.
    pub fn required(field: &str) -> Failure {
        Failure::new(400, "required", format!("Required field 'resource.{field}' not specified"))
    }

    /// 412 `conditionNotMet`: a fingerprint that is not the present one.
    pub fn condition_not_met(message: impl Into<String>) -> Failure {
        Failure::new(412, "conditionNotMet", message)
    }

    /// 500 `backendError`: the lab did not do as told.
    pub fn backend_error(why: impl std::fmt::Display) -> Failure {
        Failure::new(500, "backendError", why.to_string())
    }

    /// 501: Google has it and Tombolo does not.
    pub fn unsupported(what: impl std::fmt::Display) -> Failure {
        Failure::new(501, "notImplemented", format!("Tombolo does not support {what}."))
    }

    pub(crate) fn not_implemented(method: &Method) -> Failure {
        Failure::unsupported(format_args!("the method '{}'", method.id))
    }

    pub(crate) fn no_such_method(request: &Request, other_verb: bool) -> Failure {
        let why =
            if other_verb { "has other methods than this one" } else { "is no path of a supported API" };
        Failure::new(404, "notFound", format!("'{}' {why}.", request.path))
    }

    /// The canonical status, such as `NOT_FOUND`.
    pub fn status(&self) -> &'static str {
        match (self.code, self.reason.as_str()) {
            (400, "failedPrecondition" | "resourceInUseByAnotherResource" | "resourceNotReady") => {
                "FAILED_PRECONDITION"
            }
            (400, _) => "INVALID_ARGUMENT",
            (401, _) => "UNAUTHENTICATED",
            (403, _) => "PERMISSION_DENIED",
            (404, _) => "NOT_FOUND",
            (409, "aborted") => "ABORTED",
            (409, _) => "ALREADY_EXISTS",
            (412, _) => "FAILED_PRECONDITION",
            (413 | 429, _) => "RESOURCE_EXHAUSTED",
            (501, _) => "UNIMPLEMENTED",
            (503, _) => "UNAVAILABLE",
            _ => "INTERNAL",
        }
    }

    /// The code of [`Failure::status`] in `google.rpc.Code`, which operations and gRPC use.
    pub fn rpc_code(&self) -> u8 {
        match self.status() {
            "INVALID_ARGUMENT" => 3,
            "NOT_FOUND" => 5,
            "ALREADY_EXISTS" => 6,
            "PERMISSION_DENIED" => 7,
            "RESOURCE_EXHAUSTED" => 8,
            "FAILED_PRECONDITION" => 9,
            "ABORTED" => 10,
            "UNIMPLEMENTED" => 12,
            "UNAVAILABLE" => 14,
            "UNAUTHENTICATED" => 16,
            _ => 13,
        }
    }

    /// The body of the answer.
    pub fn body(&self, api: Option<Api>) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if matches!(api, Some(Api::Compute | Api::Dns)) {
            error["errors"] = json!([{ "message": self.message, "domain": "global", "reason": self.reason }]);
            if let Some(parameter) = &self.parameter {
                error["errors"][0]["location"] = json!(parameter);
                error["errors"][0]["locationType"] = json!("parameter");
            }
            // As recorded: only errors from before Compute itself have a status.
            if !self.details.is_empty() {
                error["status"] = json!(self.status());
            }
        } else {
            error["status"] = json!(self.status());
        }
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        json!({ "error": error })
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let message = refusal.to_string();
        let (code, reason) = match &refusal {
            Refusal::NotFound { .. } | Refusal::NoSuchNetwork(_) => (404, "notFound"),
            Refusal::TooLarge { .. } | Refusal::TooLong { .. } => (413, "fieldSizeTooLarge"),
            Refusal::AlreadyExists { .. } => (409, "alreadyExists"),
            Refusal::NotReady { .. } | Refusal::MustBeStopped { .. } => (400, "resourceNotReady"),
            Refusal::InUse { .. } => (400, "resourceInUseByAnotherResource"),
            Refusal::AddressInUse { .. } => (400, "IP_IN_USE_BY_ANOTHER_RESOURCE"),
            Refusal::AddressesExhausted { .. } => (400, "IP_SPACE_EXHAUSTED"),
            Refusal::ServiceDisabled { .. } => (403, "accessNotConfigured"),
            Refusal::PrivateServiceAccessMissing | Refusal::ConnectionInUse => (400, "failedPrecondition"),
            Refusal::AllocatedRangesExhausted => (400, "failedPrecondition"),
            Refusal::NotTheHost { .. } | Refusal::AllocatedRangeNotFound { .. } => (400, "badRequest"),
            Refusal::ConnectionHasOtherRanges => (400, "badRequest"),
            Refusal::HostHasServiceProjects => (400, "badRequest"),
            Refusal::NotEmpty { .. } => (400, "containerNotEmpty"),
            Refusal::PreconditionNotMet { .. } => (412, "conditionNotMet"),
            Refusal::QuotaExceeded { .. } => (403, "quotaExceeded"),
            Refusal::Invalid { .. } | Refusal::SubnetOverlap { .. } | Refusal::AuthorizedNetworkElsewhere => {
                (400, "invalid")
            }
            Refusal::PeerOverlap { .. } | Refusal::PeerOfPeerOverlap { .. } => (400, "invalid"),
        };
        let mut failure = Failure::new(code, reason, message);
        failure.details = details(&refusal);
        failure
    }
}

/// The details that Google adds to some errors.
fn details(refusal: &Refusal) -> Vec<Value> {
    match refusal {
        Refusal::ServiceDisabled { service, project, title } => vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": {
                "service": service,
                "serviceTitle": title,
                "consumer": format!("projects/{project}"),
                "containerInfo": project,
                "activationUrl":
                    format!("https://console.developers.google.com/apis/api/{service}/overview?project={project}"),
            },
        })],
        Refusal::AuthorizedNetworkElsewhere => vec![json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": "instance.authorized_network", "description": refusal.to_string() }],
        })],
        _ => Vec::new(),
    }
}
