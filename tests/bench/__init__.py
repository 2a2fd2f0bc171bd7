"""`make bench`: the appliance beside bare gobgpd and BIRD, the same light speakers dialing each in turn."""
