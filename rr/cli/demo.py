"""`rrctl demo`: the appliance shown on this machine alone."""

import sys

import click

HELP = """\
Show the appliance on this machine alone: real peers on loopback, no root.

One appliance (one instance, two racks), six nodes and two ToRs, each a gobgpd of its own, told as a story.
It stays up for you to look around until Ctrl-C. Whatever it started is gone afterwards; its folder too,
unless a step failed: then it is kept for its logs.

\b
With --json, one JSON object on stdout (the story goes to stderr). A route is a prefix with one next hop:
  expected   routes that the two ToRs together should hold at the end
  accepted   those of them that they do hold at the end
  rejected   hijack announcements (a node makes 3) that the appliance rejected and lists as violations
  leaked     routes that a ToR or another node was sent, at any time, against the allocations; should be 0
  vip_paths  paths of the virtual IP at the ToR that has the fewest; each of the 6 nodes announces it
  grant_ms   from the moment the IPAM's file gives a node a second PodCIDR until the ToR has the route
  revoke_ms  from the moment the IPAM's file takes it away until the ToR has lost it
  restart_removed     routes that the ToRs lost when the engine was killed; should be 0
  restart_seconds     from that kill until every session was back and nobody kept a stale route
  controller_removed  routes that the ToRs lost while rrd was killed and came back; should be 0
What was not reached is null.

\b
Exit status: 0 all as it should be (also after Ctrl-C when the story is over), 1 something leaked, is missing,
was lost or failed, 130 or 143 stopped by Ctrl-C or SIGTERM before the end of the story.
"""


@click.command(help=HELP, short_help="Show the appliance on this machine alone.")
@click.option("--once", is_flag=True, help="End after the story instead of staying up.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON object; implies --once.")
def demo(once: bool, as_json: bool) -> None:
    """Show the appliance on this machine alone."""
    from rr.demo.run import Options, run  # here, so that no other command pays for gRPC

    sys.exit(run(Options(once=once or as_json, as_json=as_json)))
