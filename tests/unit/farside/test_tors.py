"""What each system does with what not every ToR has."""

from ipaddress import ip_network

import pytest

from rr.errors import FarSideError
from rr.farside.writers import VENDORS
from tests.unit.farside.snippets import a_tor

SECRETS = {
    "frr": " neighbor 10.0.0.11 password s3cret",
    "sonic": " neighbor 10.0.0.11 password s3cret",
    "eos": "   neighbor 10.0.0.11 password 0 s3cret",
    "nxos": "    password 0 s3cret",
    "junos": '            authentication-key "s3cret";',
}
EMPTY = {
    "frr": " neighbor 10.0.0.11 password",
    "sonic": " neighbor 10.0.0.11 password",
    "eos": "   neighbor 10.0.0.11 password 0",
    "nxos": "    password 0",
    "junos": "            authentication-key;",
}
"""What each of them refuses as incomplete."""


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_secret_is_written_only_if_asked_for_and_its_place_is_refused_otherwise(vendor: str) -> None:
    assert SECRETS[vendor] in VENDORS[vendor](a_tor("full", text="s3cret")).splitlines()
    text = VENDORS[vendor](a_tor("full"))
    assert EMPTY[vendor] in text.splitlines()
    assert "/etc/rr/secrets/tor-1" in text
    assert "password" not in VENDORS[vendor](a_tor("plain"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_secret_that_the_system_would_cut_is_refused(vendor: str) -> None:
    with pytest.raises(
        FarSideError, match=r"the password in /etc/rr/secrets/tor-1 has a .*; choose one without"
    ):
        VENDORS[vendor](a_tor("full", text='two "words'))


@pytest.mark.parametrize("vendor", VENDORS)
def test_only_what_lies_within_accept_may_come(vendor: str) -> None:
    within = (ip_network("10.244.0.0/16"), ip_network("fd00:10::/32"), ip_network("10.100.0.1/32"))
    text = VENDORS[vendor](a_tor("plain", accept=within))
    everything = ("0.0.0.0/0 le 32", "::/0 le 128", "term what-may-come {\n            then accept")
    permitting = [line for line in text.splitlines() if "deny" not in line]
    assert not any(line in "\n".join(permitting) for line in everything)
    for network in within:
        assert any(str(network) in line for line in permitting)
    assert "10.100.0.1/32 le 32" not in text


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_default_route_is_refused_whatever_is_accepted(vendor: str) -> None:
    text = VENDORS[vendor](a_tor("plain", accept=(ip_network("0.0.0.0/0"),)))
    assert "deny 0.0.0.0/0 le 7" in text or "route-filter 0.0.0.0/0 upto /7" in text


@pytest.mark.parametrize("vendor", VENDORS)
def test_without_from_tors_nothing_is_sent_and_no_next_hop_changed(vendor: str) -> None:
    text = VENDORS[vendor](a_tor("plain"))
    assert "next-hop" not in text
    assert "permit" not in "".join(line for line in text.splitlines() if "-OUT" in line)


@pytest.mark.parametrize("vendor", ["frr", "sonic", "eos"])
def test_a_tor_without_add_path_is_not_asked_for_it(vendor: str) -> None:
    text = VENDORS[vendor](a_tor("full", "fd00:2:1::1"))
    assert "additional-paths receive" not in text
    assert "maximum-paths" not in text.replace("`maximum-paths`", "")
    assert ("disable-addpath-rx" in text) is (vendor in ("frr", "sonic"))


@pytest.mark.parametrize("vendor", ["junos", "nxos"])
def test_a_system_that_dials_one_port_alone_says_so(vendor: str) -> None:
    with pytest.raises(
        FarSideError, match=r"dials port 179 alone, and ToR fd00:2:1::1 .* must dial port 1790"
    ):
        VENDORS[vendor](a_tor("full", "fd00:2:1::1"))


def test_families_that_the_instance_does_not_carry_are_switched_off() -> None:
    text = VENDORS["frr"](a_tor("full", "10.4.1.1"))
    assert " address-family ipv4 unicast\n  no neighbor 10.0.1.11 activate\n exit-address-family" in text
    assert "ip prefix-list" not in text
    assert "! The appliance dials port 1179: bgpd must listen there (-p 1179)." in text
