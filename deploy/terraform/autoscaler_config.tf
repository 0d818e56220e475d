# deploy/autoscaling/crema.yaml with one scaled object for each pool, all in the one autoscaler.

locals {
  crema_file   = yamldecode(file("${path.module}/../autoscaling/crema.yaml"))
  crema_object = local.crema_file.spec.scaledObjects[0].spec

  crema = yamlencode(merge(local.crema_file, {
    spec = merge(local.crema_file.spec, {
      scaledObjects = [for name, pool in local.pools : {
        spec = merge(local.crema_object, {
          scaleTargetRef  = { name = "projects/${var.project}/locations/${var.region}/workerpools/${name}" }
          maxReplicaCount = pool.max_instances
          triggers = [for trigger in local.crema_object.triggers : merge(trigger, {
            metadata = merge(trigger.metadata, {
              serverAddress = replace(trigger.metadata.serverAddress, "PROJECT", var.project)
              threshold     = tostring(pool.slots)
              query = replace(replace(trigger.metadata.query,
                "pool=\"headcount\"", "pool=\"${name}\""),
                "\"subscription_id\"=\"jobs-worker\"", "\"subscription_id\"=\"${pool.subscription}\"",
              )
            })
          })]
        })
      }]
    })
  }))
}
