//! Folders and hierarchical firewall policies: what their changes lead to, and what is refused.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    network vpc-1
    folder prod
    folder prod/team
    folder test
    move project-1 prod/team
    hierarchical p
    hierarchical q prod
    policy-rule ^p 10 deny tcp:22 ranges=10.0.0.0/8
    policy-rule ^q 10 allow tcp:22 ranges=10.0.0.0/8 networks=vpc-1
    associate ^p at org
    associate ^q at prod/team";

fn acting(world: &World, project: &str) -> Vec<(String, String)> {
    let found = hierarchical_policy::all_of_project(world, project);
    found.into_iter().map(|(node, _, policy)| (node.to_string(), policy.short_name.clone())).collect()
}

#[test]
fn policies_act_in_what_is_beneath_from_the_top_down() {
    let setup = world(SETUP);
    let [org, prod, team, test] = ["org", "prod", "prod/team", "test"].map(|text| node(text).to_string());
    let at = |node: &str, name: &str| (node.to_owned(), name.to_owned());
    assert_eq!(acting(&setup, "project-1"), [at(&org, "p"), at(&team, "q")]);
    // A project without a parent is in no organization.
    assert_eq!(acting(&setup, "project-2"), []);
    assert_eq!(acting(&then(&setup, "move project-1 test", 0), "project-1"), [at(&org, "p")]);
    let both = then(&setup, "associate ^p too prod", 0);
    assert_eq!(acting(&both, "project-1"), [at(&org, "p"), at(&prod, "p"), at(&team, "q")]);
    let replaced = then(&setup, "associate ^q too org replace", 0);
    assert_eq!(acting(&replaced, "project-1"), [at(&org, "q"), at(&team, "q")]);
    let ended = then(&then(&setup, "dissociate ^p at", 0), "delete policy ^p", 0);
    assert_eq!(acting(&ended, "project-1"), [at(&team, "q")]);
    let ancestry = folder::ancestry(&setup, Some(&node("prod/team")));
    assert_eq!(ancestry.iter().map(Node::to_string).collect::<Vec<_>>(), [org, prod, team]);
    let rule = &hierarchical_policy::of_node(&setup, &node("prod/team")).unwrap().1.rules[&10];
    assert!(hierarchical_policy::acts_in(rule, &network("vpc-1")));
    assert!(!hierarchical_policy::acts_in(rule, &network("vpc-2")));
    // What a World has comes back from its rows.
    let rows = both.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), both);
    let gone = then(&setup, "delete folder test", 0);
    assert!(gone.folders.len() == 2 && test.starts_with("folders/"));
}

#[test]
fn what_is_refused() {
    let setup = world(SETUP);
    let team = node("prod/team");
    for (line, want) in [
        ("folder prod", "already exists"),
        ("folder pr", "Invalid value for field 'resource.displayName': 'pr'. Must be 3 to 30"),
        ("folder nowhere/team", "was not found"),
        ("move project-1 nowhere", "was not found"),
        ("move project-9 prod", "The resource 'projects/project-9' was not found"),
        ("delete folder prod", "is already being used by"),
        ("delete folder prod/team", "is already being used by 'projects/project-1'"),
        ("hierarchical p", "already exists"),
        ("hierarchical P", "Invalid value for field 'resource.shortName': 'P'."),
        ("hierarchical r nowhere", "was not found"),
        ("delete policy ^p", "is already being used by"),
        ("associate ^q other org", "is already being used by"),
        ("associate ^q at org replace", "already exists"),
        ("associate ^q x nowhere", "was not found"),
        ("dissociate ^q other", "was not found"),
        ("policy-rule ^r 1 deny tcp ranges=10.0.0.0/8", "was not found"),
        ("policy-rule ^p 10 deny tcp ranges=10.0.0.0/8", "Cannot have rules with the same priorities."),
        ("policy-rule ^p 2147483644 deny tcp ranges=10.0.0.0/8", "Must be between 0 and"),
        ("policy-replace ^p 11 deny tcp ranges=10.0.0.0/8", "does not contain a rule at this priority"),
    ] {
        let refused = setup.apply(&change(line), Timestamp(0)).expect_err(line).to_string();
        assert!(refused.contains(want), "{line}: {refused}");
    }
    let in_a_network = world(&format!("{SETUP}\npolicy n"));
    let line = "policy-rule n 1 deny tcp ranges=10.0.0.0/8 networks=vpc-1";
    let refused = in_a_network.apply(&change(line), Timestamp(0)).expect_err(line).to_string();
    assert!(refused.contains("Only rules of hierarchical"), "{refused}");
    // Ten deep, and no deeper.
    let mut deep = setup.clone();
    let mut parent = team;
    for _ in 0..8 {
        let change = Change::FolderCreate { parent: parent.clone(), display_name: "down".into() };
        deep = deep.apply(&change, Timestamp(0)).unwrap();
        parent = Node::Folder(folder::key_of(&World::default(), &parent, "down"));
    }
    let change = Change::FolderCreate { parent, display_name: "down".into() };
    let refused = deep.apply(&change, Timestamp(0)).expect_err("too deep").to_string();
    assert!(refused.contains("Folders may be nested 10 deep."), "{refused}");
}

#[test]
fn a_folder_keeps_its_number() {
    let setup = world(SETUP);
    let key = folder("test");
    let rename = Change::FolderRename { folder: key.clone(), display_name: "trial".into() };
    let renamed = setup.apply(&rename, Timestamp(0)).unwrap();
    assert_eq!(renamed.folders[&key].display_name, "trial");
    // Another one of the old name gets another number.
    let again = then(&renamed, "folder test", 0);
    assert_eq!(again.folders.len(), 4);
    for text in ["organizations/1", "folders/x", "folders/", "projects/p", ""] {
        assert!(text.parse::<Node>().is_err(), "{text}");
    }
}
