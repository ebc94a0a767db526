//! What `redis.durability = "strict"` demands, and that it says what to do.

use framewire_shared::domain::Cell;
use framewire_shared::service::settings::Settings;
use framewire_shared::store::operate::{Durability, Unfit};
use framewire_shared::store::{QueueOptions, RedisOptions, Store};
use framewire_shared::testing::RedisServer;

fn strict(redis: &RedisServer) -> Store {
    let options = RedisOptions { durability: Durability::Strict, ..redis.options() };
    Store::open(options, QueueOptions::default()).unwrap()
}

fn set(redis: &RedisServer, name: &str, value: &str) {
    let () =
        redis::cmd("CONFIG").arg(&["SET", name, value]).query(&mut redis.connection()).unwrap();
}

async fn refusal(store: &Store) -> String {
    let unfit = store.check_fitness(Cell::FIRST).await.unwrap_err();
    assert!(matches!(unfit, Unfit::NotDurable { .. }), "{unfit:?}");
    let said = unfit.to_string();
    assert!(said.contains("redis.durability = \"strict\""), "{said}");
    said
}

#[tokio::test]
async fn strict_refuses_a_redis_that_answers_before_it_syncs_and_names_the_remedy() {
    let redis = RedisServer::start();
    let store = strict(&redis);
    redis.store().check_fitness(Cell::FIRST).await.unwrap();
    let said = refusal(&store).await;
    assert!(said.contains("appendfsync is everysec"), "{said}");
    assert!(said.contains("CONFIG SET appendfsync always"), "{said}");

    set(&redis, "appendfsync", "always");
    store.check_fitness(Cell::FIRST).await.unwrap();

    set(&redis, "no-appendfsync-on-rewrite", "yes");
    let said = refusal(&store).await;
    assert!(said.contains("CONFIG SET no-appendfsync-on-rewrite no"), "{said}");
    set(&redis, "no-appendfsync-on-rewrite", "no");

    set(&redis, "appendonly", "no");
    assert!(refusal(&store).await.contains("CONFIG SET appendonly yes"));
    redis.store().check_fitness(Cell::FIRST).await.unwrap();
}

#[tokio::test]
async fn strict_refuses_a_redis_that_does_not_let_itself_be_asked() {
    let redis = RedisServer::start();
    set(&redis, "appendfsync", "always");
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-config"])
        .query(&mut redis.connection())
        .unwrap();
    let said = refusal(&strict(&redis)).await;
    assert!(said.contains("does not let itself be asked"), "{said}");
    redis.store().check_fitness(Cell::FIRST).await.unwrap();
}

#[test]
fn the_setting_is_relaxed_unless_somebody_says_strict_and_nothing_else_is_taken() {
    let with = |value: Option<&str>| {
        let variable =
            value.map(|value| ("FRAMEWIRE_REDIS_DURABILITY".to_owned(), value.to_owned()));
        Settings::load(None, variable.into_iter())
    };
    assert_eq!(with(None).unwrap().redis_options().durability, Durability::Relaxed);
    let strict = with(Some("strict")).unwrap();
    assert_eq!(strict.redis_options().durability, Durability::Strict);
    let error = with(Some("paranoid")).unwrap_err().to_string();
    assert!(error.contains("paranoid") && error.contains("redis.durability"), "{error}");
}
