//! A topology file goes up by requests, comes out again, and goes into a lab that outlives its server.

use crate::support::{as_each_user, example, homes};

#[test]
fn what_is_up_answers_the_api_to_who_has_the_token() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let names = ["compute", "instances", "list", "--project", "project-i-2", "--format", "value(name)"];
        assert_eq!(home.run(&names).exits(0), "redis-proxy\nvm-2\n");
        let environment = home.run(&["env"]).exits(0);
        assert!(environment.contains("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE="), "{environment}");
        let address = environment.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        let request = "GET /compute/v1/projects/project-i-1/global/networks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = crate::support::http::raw(address.parse().unwrap(), request.as_bytes()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        // It can be changed as a lab that is served, packets and all.
        home.sh("vm-1", "ping -c1 -W5 10.2.0.2").exits(0);
        let delete =
            ["compute", "firewall-rules", "delete", "vpc-2-allow-internal", "--project", "project-i-2"];
        home.run(&delete).exits(0);
        home.sh("vm-1", "ping -c1 -W1 10.2.0.2").exits(1);
        home.down();
    });
}

#[test]
fn what_is_exported_is_imported_and_outlives_the_server() {
    let homes = homes();
    let home = homes.last().unwrap();
    home.up(&home.example("article.yaml"));
    let exported = home.run(&["export", "lab.yaml"]);
    assert_eq!((exported.code, exported.out.as_str(), exported.err.as_str()), (0, "", ""));
    // It is as good a lab as the one that it is of.
    let article = example("article.yaml");
    let (_, checks) = article.split_once("\nchecks:").unwrap();
    let lab = std::fs::read_to_string(home.path.join("lab.yaml")).unwrap();
    home.write("checked.yaml", &format!("{lab}\nchecks:{checks}"));
    home.run(&["check", "checked.yaml"]).exits(0);
    home.down();

    let served = home.serve(&[]);
    assert!(home.run(&["import", "lab.yaml"]).exits(0).contains("requests made what lab.yaml says"));
    assert!(home.run(&["import", "lab.yaml"]).refusal().contains("the lab is not empty"));
    let text = std::fs::read_to_string(home.path.join("lab.yaml")).unwrap();
    assert_eq!(home.run(&["export"]).exits(0), text);
    home.down();
    drop(served);

    let _served = home.serve(&[]);
    assert_eq!(home.run(&["export"]).exits(0), text);
    home.run(&["check", "--running", &example_checks(home)]).exits(0);
    // What a file has no words for is told.
    home.run(&["projects", "create", "project-3", "--labels", "a=b"]).exits(0);
    home.run(&["services", "enable", "compute.googleapis.com", "--project", "project-3"]).exits(0);
    let exported = home.run(&["export"]);
    assert!(exported.err.contains("not in the file: projects/project-3: labels"), "{exported:?}");
    assert!(exported.exits(0).contains("projectId: project-3"));
    // And where the lab would be another one, so is the answer.
    let reserve = "compute addresses create a-1 --region us-central1 --project project-i-1";
    home.run(&reserve.split(' ').collect::<Vec<_>>()).exits(0);
    let exported = home.run(&["export"]);
    assert!(exported.err.contains("not in the file: projects/project-i-1/regions/us-central1/addresses/a-1"));
    assert!(exported.exits(1).contains("projectId: project-3"));
    home.down();
}

/// A file with the example's checks.
fn example_checks(home: &crate::support::Home) -> String {
    home.example("article.yaml").to_str().unwrap().to_owned()
}
