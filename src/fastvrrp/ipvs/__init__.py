"""The load balancer: IPVS services, health checks, pools."""
