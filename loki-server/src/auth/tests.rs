use super::*;

/// `secret`, hashed by bcrypt with the lowest cost.
fn bcrypt_of(password: &str) -> String {
    bcrypt::hash(password, 4).expect("it can be hashed")
}

struct Fixture {
    auth: Auth,
}

impl Fixture {
    fn new(tenants: &[(&str, &[&str])]) -> Self {
        let users = format!("# users\nalice:{}\nbob:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", bcrypt_of("s:cret"));
        let tokens = "robot:token-1\nhidden:sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let auth = Auth {
            users: Some(Users::parse(&users).expect("valid")),
            tokens: Some(Tokens::parse(tokens).expect("valid")),
            certificates: true,
            tenants: tenants.iter().map(|(name, tenants)| ((*name).to_owned(), owned(tenants))).collect(),
            rights: HashMap::new(),
            open_paths: vec!["/ready".to_owned()],
        };
        Self { auth }
    }

    /// The tenant header that a request has once it was admitted.
    async fn admit(&self, authorization: &str, tenant: &str) -> Result<String, Denied> {
        self.admit_as(&ClientName::default(), authorization, tenant).await
    }

    async fn admit_as(&self, client: &ClientName, authorization: &str, tenant: &str) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().expect("a header value"));
        }
        if !tenant.is_empty() {
            headers.insert(TENANT_HEADER, tenant.parse().expect("a header value"));
        }
        self.auth.admit(&Method::POST, "/loki/api/v1/push", client, &mut headers).await?;
        assert!(!headers.contains_key(header::AUTHORIZATION), "the secret goes no further");
        let tenant = headers.get(TENANT_HEADER).map(|value| value.to_str().expect("text"));
        Ok(tenant.unwrap_or_default().to_owned())
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn passwords_are_checked_against_their_hash() {
    let fixture = Fixture::new(&[]);
    for (user, password) in [("alice", "s:cret"), ("alice", "s:cret"), ("bob", "secret")] {
        assert_eq!(fixture.admit(&basic(user, password), "t").await, Ok("t".to_owned()), "{user}");
    }
    for (user, password) in [("alice", "secret"), ("bob", "s:cret"), ("carol", "secret"), ("", "")] {
        assert_eq!(fixture.admit(&basic(user, password), "t").await, Err(Denied::Unknown), "{user}");
    }
}

#[tokio::test]
async fn tokens_are_looked_up_by_digest() {
    let fixture = Fixture::new(&[]);
    assert_eq!(fixture.admit("Bearer token-1", "t").await, Ok("t".to_owned()));
    assert_eq!(fixture.admit("bearer secret", "t").await, Ok("t".to_owned()));
    for wrong in ["Bearer token-2", "Bearer ", "token-1", ""] {
        assert_eq!(fixture.admit(wrong, "t").await, Err(Denied::Unknown), "{wrong}");
    }
}

#[tokio::test]
async fn a_certificate_is_as_good_as_a_password() {
    let fixture = Fixture::new(&[("node-1", &["t"])]);
    let client = ClientName(Some("node-1".into()));
    assert_eq!(fixture.admit_as(&client, "", "").await, Ok("t".to_owned()));
    assert_eq!(fixture.admit_as(&ClientName(Some("node-2".into())), "", "").await, Err(Denied::Tenant));
}

#[tokio::test]
async fn senders_are_confined_to_their_tenants() {
    let fixture = Fixture::new(&[("robot", &["a"]), ("hidden", &["a", "b"]), ("alice", &["*"])]);
    assert_eq!(fixture.admit("Bearer token-1", "").await, Ok("a".to_owned()), "the only one is filled in");
    assert_eq!(fixture.admit("Bearer token-1", "a:sub").await, Ok("a:sub".to_owned()));
    assert_eq!(fixture.admit("Bearer token-1", "b").await, Err(Denied::Tenant));
    assert_eq!(fixture.admit("Bearer token-1", "a|b").await, Err(Denied::Tenant));
    assert_eq!(fixture.admit("Bearer secret", "b|a").await, Ok("b|a".to_owned()));
    assert_eq!(fixture.admit("Bearer secret", "").await, Ok(String::new()));
    assert_eq!(fixture.admit(&basic("alice", "s:cret"), "anything").await, Ok("anything".to_owned()));
    assert_eq!(fixture.admit(&basic("bob", "secret"), "a").await, Err(Denied::Tenant), "nobody gave bob a tenant");
}

#[tokio::test]
async fn open_paths_need_nothing() {
    let fixture = Fixture::new(&[]);
    let mut headers = HeaderMap::new();
    assert_eq!(fixture.auth.admit(&Method::GET, "/ready", &ClientName::default(), &mut headers).await, Ok(()));
    assert_eq!(
        fixture.auth.admit(&Method::GET, "/ready/x", &ClientName::default(), &mut headers).await,
        Err(Denied::Unknown)
    );
}

#[test]
fn wrong_lines_are_named() {
    let users = |text: &str| Users::parse(text).expect_err(text);
    assert_eq!(users("\n# x\nalice").0, 3);
    assert_eq!(users("alice:plain").0, 1);
    assert_eq!(users("a:{SHA}x\na:{SHA}y").0, 2);
    let tokens = |text: &str| Tokens::parse(text).expect_err(text);
    for wrong in ["token", "name:", "name:sha256:abc", "a:x\nb:x"] {
        assert!(tokens(wrong).0 > 0);
    }
}

#[tokio::test]
async fn rights_say_what_may_be_done() {
    let mut fixture = Fixture::new(&[]);
    fixture.auth.rights.insert("robot".to_owned(), vec![Right::Write]);
    fixture.auth.rights.insert("hidden".to_owned(), vec![Right::Read, Right::Admin]);
    let cases = [
        (Method::POST, "/loki/api/v1/push", true, false),
        (Method::POST, "/otlp/v1/logs", true, false),
        (Method::POST, "/loki/api/v1/query_range", false, true),
        (Method::POST, "/flush", false, true),
    ];
    for (method, path, robot, hidden) in cases {
        for (token, allowed) in [("token-1", robot), ("secret", hidden)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header value"));
            let outcome = fixture.auth.admit(&method, path, &ClientName::default(), &mut headers).await;
            assert_eq!(outcome.is_ok(), allowed, "{method} {path} {token}");
        }
    }
    let unlisted = fixture.admit_as(&ClientName(Some("node".into())), "", "").await;
    assert_eq!(unlisted, Err(Denied::Right), "who is not listed may do nothing");
}

#[test]
fn what_changes_something_needs_the_highest_right() {
    let needed = |method: &str, path| Right::needed(&method.parse().expect("a method"), path);
    for (method, path) in [
        ("GET", "/loki/api/v1/labels"),
        ("POST", "/loki/api/v1/series"),
        ("GET", "/loki/api/v1/delete"),
        ("GET", "/api/prom/tail"),
        ("GET", "/log_level"),
        ("GET", "/metrics"),
        ("GET", "/compactor/ring"),
        ("GET", "/config/tenant/v1/limits"),
    ] {
        assert_eq!(needed(method, path), Right::Read, "{method} {path}");
    }
    for (method, path) in [
        ("PUT", "/loki/api/v1/delete"),
        ("DELETE", "/loki/api/v1/delete"),
        ("POST", "/loki/api/v1/rules/a"),
        ("POST", "/log_level"),
        ("GET", "/config"),
        ("GET", "/flush"),
        ("GET", "/ingester/shutdown"),
        ("GET", "/debug/pprof/profile"),
        ("GET", "/something/new"),
    ] {
        assert_eq!(needed(method, path), Right::Admin, "{method} {path}");
    }
}
