"""`rrctl tor-config`: what to configure on a ToR."""

import click

from rr.cli.command import Session, command
from rr.cli.complete import names
from rr.cli.farside import AddressType, PrefixType, appliance_of, chosen, common, secret, show
from rr.errors import FarSideError
from rr.farside.facts import tor_side
from rr.farside.writers import VENDORS
from rr.net import Address, Network


@command(name="tor-config")
@click.option("--vendor", type=click.Choice(list(VENDORS)), required=True, help="What runs on the ToR.")
@click.option("--instance", help="Only ToRs of this instance.", shell_complete=names("peers", "instance"))
@click.option("--rack", help="Only ToRs of this rack.", shell_complete=names("peers", "rack"))
@click.option("--tor", type=AddressType(), metavar="ADDRESS", help="Only this ToR.")
@click.option(
    "--accept",
    type=PrefixType(),
    multiple=True,
    metavar="PREFIX",
    help="Have the ToR take only routes within this prefix (again for more); otherwise all but a default route.",
)
@common
@click.pass_obj
def tor_config(
    session: Session,
    vendor: str,
    instance: str | None,
    rack: str | None,
    tor: Address | None,
    accept: tuple[Network, ...],
    address: Address | None,
    with_secrets: bool,
    file: str | None,
) -> None:
    """Print what to configure on a ToR, from the configuration in force: its sessions, paths and filters.

    Without further options it is one block for each ToR, under a line of its own. The first lines of a block say for
    which release it is and what is left to do. Nothing is sent to a ToR.

    \b
    Examples:
      rrctl tor-config --vendor frr --tor 10.2.1.1
      rrctl tor-config --vendor eos --accept 10.244.0.0/16 --accept 10.100.0.0/24
      rrctl tor-config --vendor junos --config new.yaml
    """
    appliance = appliance_of(session, file)
    found = [(i, r, t) for i, r, held in chosen(appliance, instance, rack) for t in held.tors]
    wanted = [(i, r, t) for i, r, t in found if tor in (None, t.address)]
    if not wanted:
        known = ", ".join(str(t.address) for _, _, t in found)
        wrong = f"there is no ToR {tor}" if tor is not None and known else "there is no ToR"
        raise FarSideError(
            wrong, f"name one of {known}" if known else "add it to `tors` of its rack in rr.yaml"
        )
    sides = [
        tor_side(appliance, i, r, t, secret(with_secrets), address=address, accept=accept)
        for i, r, t in wanted
    ]
    rows = [
        {
            "instance": side.sessions.instance,
            "rack": side.sessions.rack,
            "tor": str(side.address),
            "vendor": vendor,
            "text": VENDORS[vendor](side),
        }
        for side in sides
    ]
    show(session, rows)
