//! Tokens open their own session and nothing else.

use framewire_shared::domain::Tenant;

use crate::world::World;

#[tokio::test]
async fn only_the_whole_token_opens_its_session() {
    let world = World::new();
    let new = world.store.create_session().await.unwrap();
    assert_eq!(
        world.store.verify_token(&new.token).await.unwrap(),
        Some((new.id.clone(), Tenant::public()))
    );
    let another = world.store.create_session().await.unwrap();
    let secret = another.token.split_once('.').unwrap().1;
    for forged in [
        String::new(),
        new.id.to_string(),
        format!("{}.", new.id),
        format!("{}.{secret}", new.id),
        format!("{}x", new.token),
        new.token[..new.token.len() - 1].to_owned(),
        "ses_c0_00000000000000000000000000000000.AAAA".into(),
        format!("../{}", new.token),
    ] {
        assert_eq!(world.store.verify_token(&forged).await.unwrap(), None, "{forged}");
    }
}

#[tokio::test]
async fn redis_holds_no_token_that_would_open_a_session() {
    let world = World::new();
    let new = world.store.create_session().await.unwrap();
    let key = format!("fw:{{c0}}:session:{}", new.id);
    let fields: Vec<String> =
        redis::cmd("HVALS").arg(key).query(&mut world.redis.connection()).unwrap();
    let secret = new.token.split_once('.').unwrap().1;
    assert!(fields.iter().all(|field| !field.contains(secret)), "{fields:?}");
}
