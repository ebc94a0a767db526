//! How many streams each address has in this process.
//!
//! Comes in: the address that a request comes from, where it is known. Goes out: a place, which gives
//! itself back when it is dropped, whatever became of the stream. Whether an address is known is
//! decided by `http::address`; what is not known is not counted, and has the other limits.
//! An IPv6 subscriber has a network of its own, 2^64 addresses, so those count as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use framewire_shared::domain::SessionId;

use super::frame::Bye;

/// Bits of an IPv6 address that tell one subscriber from another.
const SUBSCRIBER_BITS: u32 = 64;

/// Who opens a stream.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Whose events.
    pub session: &'a SessionId,
    /// From where, if that tells one subscriber from another.
    pub address: Option<IpAddr>,
}

impl<'a> From<&'a SessionId> for Caller<'a> {
    fn from(session: &'a SessionId) -> Self {
        Self { session, address: None }
    }
}

/// The addresses that have streams.
#[derive(Debug)]
pub struct Addresses {
    max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    said: Once,
}

/// A stream's place with its address; dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    addresses: Arc<Addresses>,
    subscriber: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.addresses.taken();
        if let Some(count) = taken.get_mut(&self.subscriber) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.subscriber);
            }
        }
    }
}

impl Addresses {
    /// Starts with nobody; each address may have so many.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default(), said: Once::new() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    ///
    /// Errors: the address has as many as it may. The newcomer is refused, as by the hub.
    pub fn sit(self: &Arc<Self>, address: IpAddr) -> Result<Place, Bye> {
        let subscriber = subscriber(address);
        let mut taken = self.taken();
        let count = taken.get(&subscriber).copied().unwrap_or_default();
        if count >= self.max {
            self.said.call_once(|| {
                let max = self.max;
                tracing::warn!(%subscriber, max, "an address has as many streams as it may; if it is a proxy's, name it in gateway.trusted_proxies (said once)");
            });
            return Err(Bye::AddressLimit);
        }
        taken.insert(subscriber, count + 1);
        Ok(Place { addresses: self.clone(), subscriber })
    }

    /// Counts the addresses that have any.
    pub fn count(&self) -> usize {
        self.taken().len()
    }
}

/// Gives what stands for everything one subscriber has.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - SUBSCRIBER_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_at_its_limit_is_refused_alone_and_every_place_comes_back() {
        let addresses = Addresses::new(2);
        let mine = [(); 2].map(|()| addresses.sit(address("203.0.113.7")).unwrap());
        assert_eq!(addresses.sit(address("203.0.113.7")).err(), Some(Bye::AddressLimit));
        let other = addresses.sit(address("203.0.113.8")).unwrap();
        drop(mine);
        drop(addresses.sit(address("203.0.113.7")).unwrap());
        drop(other);
        assert_eq!(addresses.count(), 0);
    }

    #[test]
    fn all_addresses_of_one_subscriber_are_one_however_they_are_written() {
        let addresses = Addresses::new(1);
        let _mapped = addresses.sit(address("::ffff:203.0.113.7")).unwrap();
        assert!(addresses.sit(address("203.0.113.7")).is_err());
        let _six = addresses.sit(address("2001:db8:1:2::1")).unwrap();
        assert!(addresses.sit(address("2001:db8:1:2:ffff::9")).is_err());
        assert!(addresses.sit(address("2001:db8:1:3::1")).is_ok());
    }
}
