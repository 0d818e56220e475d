# The first pool and the others, each with every value that it has. A pool's name is also HEADCOUNT_POOL: the label of
# its metrics, by which its alerts and its autoscaling tell it from others.

locals {
  pools = merge(
    {
      (var.name) = {
        subscription  = "${var.topic_prefix}jobs-worker"
        jobs_filter   = var.jobs_filter
        image         = var.image
        instances     = var.instances
        max_instances = var.max_instances
        slots         = var.slots
        cpu           = var.cpu
        memory        = var.memory
        settings      = var.settings
      }
    },
    {
      for name, pool in var.more_pools : "${var.name}-${name}" => {
        subscription  = "${var.topic_prefix}jobs-worker-${name}"
        jobs_filter   = pool.jobs_filter
        image         = coalesce(pool.image, var.image)
        instances     = coalesce(pool.instances, var.instances)
        max_instances = coalesce(pool.max_instances, var.max_instances)
        slots         = coalesce(pool.slots, var.slots)
        cpu           = coalesce(pool.cpu, var.cpu)
        memory        = coalesce(pool.memory, var.memory)
        settings      = merge(var.settings, pool.settings)
      }
    },
  )

  pool_names = sort(keys(local.pools))

  # What the rules about Google Cloud's own metrics name.
  platform = {
    database               = "${var.project}:${var.name}"
    subscriptions          = concat([for pool in local.pools : pool.subscription], ["${var.topic_prefix}jobs-dead-worker"])
    max_connections        = var.database_max_connections
    oldest_message_seconds = var.oldest_message_seconds
  }
}
