//! PURE. Which subnet a network gets and which address an endpoint gets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, ErrorKind, Result};
use crate::network::config::AddressPool;
use crate::network::spec::IpamPool;

/// Subnets tried in one configured range, to bound the search in a wide one.
const SUBNETS_TRIED_MAX: u128 = 1 << 20;

/// The first subnet of the family that overlaps none of `taken` (other networks, routes of the host).
///
/// # Errors
/// `ResourceExhausted` when all are taken.
pub(super) fn choose_subnet(pools: &[AddressPool], ipv6: bool, taken: &[IpNet]) -> Result<IpNet> {
    for pool in pools.iter().filter(|pool| is_v6(&pool.base) == ipv6) {
        let mut candidate = with_prefix(first(&pool.base), pool.size)?;
        for _ in 0..SUBNETS_TRIED_MAX {
            if !pool.base.contains(&candidate) {
                break;
            }
            let Some(obstacle) = taken.iter().find(|net| overlap(net, &candidate)) else { return Ok(candidate) };
            // Go past the obstacle, or past this candidate where that is further.
            let end = last(obstacle).max(last(&candidate));
            let Some(next) = offset(end, 1) else { break };
            let mut following = with_prefix(next, pool.size)?;
            if following == candidate {
                let Some(next) = offset(last(&candidate), 1) else { break };
                following = with_prefix(next, pool.size)?;
            }
            candidate = following;
        }
    }
    let family = if ipv6 { "IPv6" } else { "IPv4" };
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!("could not find an available, non-overlapping {family} address pool among the configured ones"),
    ))
}

/// Checks a pool as asked for and fills in its gateway: the subnet's first address.
///
/// # Errors
/// `InvalidArgument` naming the field.
pub(super) fn complete(pool: &IpamPool) -> Result<IpamPool> {
    let subnet = pool.subnet.ok_or_else(|| Error::invalid("ipam config: subnet is missing"))?;
    if subnet.trunc() != subnet {
        return Err(Error::invalid(format!("invalid subnet {subnet}: it should be {}", subnet.trunc())));
    }
    let longest = if is_v6(&subnet) { 126 } else { 30 };
    if subnet.prefix_len() > longest {
        return Err(Error::invalid(format!("invalid subnet {subnet}: it has no room for a gateway and an endpoint")));
    }
    if let Some(range) = pool.ip_range
        && !subnet.contains(&range)
    {
        return Err(Error::invalid(format!("invalid ip-range {range}: it is not inside of subnet {subnet}")));
    }
    let named = pool.aux_addresses.iter().map(|(name, ip)| (format!("auxiliary address {name:?}"), *ip));
    for (what, ip) in named.chain(pool.gateway.map(|ip| ("gateway".to_owned(), ip))) {
        if !subnet.contains(&ip) {
            return Err(Error::invalid(format!("invalid {what} {ip}: it is not inside of subnet {subnet}")));
        }
    }
    let default_gateway = || offset(first(&subnet), 1);
    Ok(IpamPool { gateway: pool.gateway.or_else(default_gateway), ..pool.clone() })
}

/// The next free address of a completed pool after `previous`, around the end of the range to its beginning.
///
/// # Errors
/// `ResourceExhausted` when none is free.
pub(super) fn allocate(pool: &IpamPool, taken: &BTreeSet<IpAddr>, previous: Option<IpAddr>) -> Result<IpAddr> {
    let subnet = pool.subnet.ok_or_else(|| Error::internal("address pool without a subnet"))?;
    let range = pool.ip_range.unwrap_or(subnet);
    let (low, high) = (first(&range), last(&range));
    let mut candidate = previous.and_then(|ip| offset(ip, 1)).filter(|ip| *ip >= low && *ip <= high).unwrap_or(low);
    // Each step meets another address that is not free, so that this many steps find a free one if there is one.
    let steps = taken.len() + pool.aux_addresses.len() + 4;
    for _ in 0..steps {
        if is_usable(&subnet, pool, candidate) && !taken.contains(&candidate) {
            return Ok(candidate);
        }
        candidate = if candidate >= high { low } else { offset(candidate, 1).unwrap_or(low) };
    }
    let free = "no available IPv4 or IPv6 addresses on this network's address pool";
    Err(Error::new(ErrorKind::ResourceExhausted, format!("{free}: {range}")))
}

/// Checks an address that an endpoint asks for.
///
/// # Errors
/// `InvalidArgument` when it is outside of the subnet or not for endpoints, `AlreadyExists` when it is in use.
pub(super) fn claim(pool: &IpamPool, taken: &BTreeSet<IpAddr>, wanted: IpAddr) -> Result<IpAddr> {
    let subnet = pool.subnet.ok_or_else(|| Error::internal("address pool without a subnet"))?;
    if !subnet.contains(&wanted) {
        return Err(Error::invalid(format!("invalid address {wanted}: it is not inside of subnet {subnet}")));
    }
    if !is_usable(&subnet, &IpamPool { aux_addresses: Default::default(), ..pool.clone() }, wanted) {
        return Err(Error::invalid(format!("invalid address {wanted}: it is the gateway's or the subnet's own")));
    }
    if taken.contains(&wanted) {
        return Err(Error::new(ErrorKind::AlreadyExists, "address already in use").context(wanted));
    }
    Ok(wanted)
}

/// Not the network's address, the broadcast address, the gateway or one set aside.
fn is_usable(subnet: &IpNet, pool: &IpamPool, ip: IpAddr) -> bool {
    let own = ip == first(subnet) || (ip.is_ipv4() && ip == last(subnet));
    !own && pool.gateway != Some(ip) && !pool.aux_addresses.values().any(|aux| *aux == ip)
}

/// Whether two networks share an address.
pub(super) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether a network is IPv6.
pub(super) fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

fn first(net: &IpNet) -> IpAddr {
    net.network()
}

/// The last address; for IPv4 the broadcast address.
fn last(net: &IpNet) -> IpAddr {
    net.broadcast()
}

fn with_prefix(ip: IpAddr, prefix: u8) -> Result<IpNet> {
    let net = IpNet::new(ip, prefix)
        .map_err(|_| Error::invalid(format!("invalid address pool: a prefix of {prefix} bits is too long for {ip}")))?;
    Ok(net.trunc())
}

fn offset(ip: IpAddr, by: u32) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().checked_add(by).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add(u128::from(by)).map(|bits| IpAddr::V6(bits.into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn pool(subnet: &str) -> IpamPool {
        complete(&IpamPool { subnet: Some(net(subnet)), ..IpamPool::default() }).unwrap()
    }

    fn pools(list: &[(&str, u8)]) -> Vec<AddressPool> {
        list.iter().map(|(base, size)| AddressPool { base: net(base), size: *size }).collect()
    }

    #[test]
    fn subnets_avoid_what_is_taken() {
        let from = pools(&[("172.17.0.0/16", 16), ("192.168.0.0/16", 20)]);
        assert_eq!(choose_subnet(&from, false, &[]).unwrap(), net("172.17.0.0/16"));
        assert_eq!(choose_subnet(&from, false, &[net("172.17.3.0/24")]).unwrap(), net("192.168.0.0/20"));
        assert_eq!(
            choose_subnet(&from, false, &[net("172.16.0.0/12"), net("192.168.1.0/24"), net("192.168.16.0/21")])
                .unwrap(),
            net("192.168.32.0/20")
        );
        let error = choose_subnet(&from, false, &[net("0.0.0.0/1"), net("128.0.0.0/1")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(choose_subnet(&from, true, &[]).is_err());
    }

    #[test]
    fn the_last_subnet_of_the_address_space_ends_the_search() {
        let from = pools(&[("255.255.255.0/24", 25)]);
        assert_eq!(choose_subnet(&from, false, &[net("255.255.255.0/25")]).unwrap(), net("255.255.255.128/25"));
        assert!(choose_subnet(&from, false, &[net("255.255.255.0/24")]).is_err());
    }

    #[test]
    fn wrong_pools_name_the_field() {
        let base = IpamPool { subnet: Some(net("10.1.0.0/24")), ..IpamPool::default() };
        let cases = [
            (IpamPool::default(), "subnet is missing"),
            (IpamPool { subnet: Some(net("10.1.0.5/24")), ..base.clone() }, "it should be 10.1.0.0/24"),
            (IpamPool { subnet: Some(net("10.1.0.0/31")), ..base.clone() }, "no room"),
            (IpamPool { ip_range: Some(net("10.2.0.0/25")), ..base.clone() }, "ip-range 10.2.0.0/25"),
            (IpamPool { gateway: Some("10.2.0.1".parse().unwrap()), ..base.clone() }, "gateway 10.2.0.1"),
            (
                IpamPool { aux_addresses: [("x".to_owned(), "10.9.0.1".parse().unwrap())].into(), ..base },
                "auxiliary address \"x\"",
            ),
        ];
        for (pool, expected) in cases {
            let error = complete(&pool).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn addresses_are_given_in_turn_and_not_again_at_once() {
        let pool = pool("10.0.0.0/29");
        let mut taken = BTreeSet::new();
        let mut previous = None;
        for expected in 2..=6 {
            let ip = allocate(&pool, &taken, previous).unwrap();
            assert_eq!(ip.to_string(), format!("10.0.0.{expected}"));
            taken.insert(ip);
            previous = Some(ip);
        }
        assert_eq!(allocate(&pool, &taken, previous).unwrap_err().kind(), ErrorKind::ResourceExhausted);
        taken.remove(&"10.0.0.3".parse().unwrap());
        assert_eq!(allocate(&pool, &taken, previous).unwrap().to_string(), "10.0.0.3");
    }

    #[test]
    fn a_claim_is_checked() {
        let pool = pool("10.0.0.0/24");
        let taken = BTreeSet::from(["10.0.0.9".parse().unwrap()]);
        let claim = |ip: &str| claim(&pool, &taken, ip.parse().unwrap()).map_err(|e| e.kind());
        assert_eq!(claim("10.0.0.8").unwrap().to_string(), "10.0.0.8");
        assert_eq!(claim("10.0.0.9"), Err(ErrorKind::AlreadyExists));
        for wrong in ["10.0.0.1", "10.0.0.0", "10.0.0.255", "10.0.1.5", "fd00::5"] {
            assert_eq!(claim(wrong), Err(ErrorKind::InvalidArgument), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_inside_usable_and_given_once(
            prefix in 24_u8..=30, v6 in any::<bool>(), gateway in 1_u8..3, releases in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let subnet: IpNet = if v6 { format!("fd00::/{}", prefix + 96) } else { format!("10.3.0.0/{prefix}") }.parse().unwrap();
            let gateway: IpAddr = if v6 { format!("fd00::{gateway}") } else { format!("10.3.0.{gateway}") }.parse().unwrap();
            let pool = complete(&IpamPool { subnet: Some(subnet), gateway: Some(gateway), ..IpamPool::default() }).unwrap();
            let mut taken = BTreeSet::new();
            let mut previous = None;
            let room = (1_usize << (32 - prefix)) - if v6 { 2 } else { 3 };
            for _ in 0..room {
                let ip = allocate(&pool, &taken, previous).unwrap();
                prop_assert!(subnet.contains(&ip) && ip != gateway && ip != subnet.network());
                prop_assert!(taken.insert(ip));
                previous = Some(ip);
            }
            prop_assert!(allocate(&pool, &taken, previous).is_err());
            for release in releases {
                let Some(ip) = taken.iter().nth(usize::from(release) % taken.len()).copied() else { continue };
                taken.remove(&ip);
                prop_assert_eq!(allocate(&pool, &taken, previous).unwrap(), ip);
                taken.insert(ip);
                previous = Some(ip);
            }
        }
    }
}
