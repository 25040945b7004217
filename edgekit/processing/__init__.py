"""What an app does before and after the model, as data.

`edgekit.processing.schema` says what can be declared, `edgekit.processing.declared` finds where it
is, `edgekit.processing.binding` fits it to an artifact, and `edgekit.processing.reference` computes
it.  Packages for apps carry the same computation in the app's language.
"""
