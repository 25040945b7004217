plugins {
    id("com.android.library") version "8.7.0"
}

android {
    namespace = "app"
    compileSdk = 35
    defaultConfig { minSdk = 24 }
    androidResources { noCompress += listOf("onnx", "tflite") }
}

dependencies {
    implementation("edgekit.models:digit-classifier:0.1.0")
}
