// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "App",
    platforms: [.macOS(.v12)],
    dependencies: [.package(path: "DigitClassifier")],
    targets: [.executableTarget(name: "App", dependencies: ["DigitClassifier"])]
)
