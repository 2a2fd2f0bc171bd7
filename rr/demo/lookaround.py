"""After the story: stay up, say what to try, and tell what the ToRs are sent meanwhile."""

import asyncio

from rr.demo.appliance import shown
from rr.demo.plan import Route
from rr.demo.programs import gobgp_beside, typed
from rr.demo.story import GROWING, THIEF, Story


async def look_around(story: Story, gobgpd: str) -> None:
    """Print what to try, then report every change at a ToR until cancelled."""
    teller, appliance = story.teller, story.appliance
    rrctl = appliance.rrctl_line()
    stolen = story.plan.node("node-2").prefixes[0]
    await teller.chapter("Look around; Ctrl-C ends it all")
    teller.say("The appliance:")
    explain = f"explain {stolen} --from {THIEF}"
    for words in ("status", "peers", "routes", "violations", explain, "events --follow"):
        teller.lines(f"{rrctl} {words}")
    teller.lines(f"{appliance.url}/   {appliance.url}/metrics")
    if gobgp := gobgp_beside(gobgpd):
        teller.say("The ToR's own table, and a node's:")
        for name in (story.tors[0], story.nodes[0]):
            socket = story.network.speakers[name].socket
            teller.lines(f"{typed(gobgp)} --target unix://{shown(socket)} global rib")
    teller.say(f"The IPAM: edit this file (give {GROWING} the prefix that it announces), and watch here:")
    teller.lines(shown(appliance.allocations))
    teller.say("")

    def changed(listener: str, route: Route, added: bool) -> None:
        if listener in story.tors:
            owner = story.plan.owner_at(route.next_hop)
            teller.news(f"{listener} {'now has' if added else 'has lost'} {route.prefix} via {owner}")

    story.ledger.on_change = changed
    await asyncio.Event().wait()
