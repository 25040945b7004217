// What the Swift wrapper calls of Core ML, as Apple documents it; nothing here computes.
import CoreVideo
import Foundation

public final class MLModelConfiguration {
    public init() {}
}

public enum MLMultiArrayDataType {
    case double, float32, float16, int32
}

public final class MLMultiArray {
    public let shape: [NSNumber] = []
    public let count = 0
    public let dataPointer: UnsafeMutableRawPointer

    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws { fatalError() }

    public subscript(_ index: Int) -> NSNumber {
        get { fatalError() }
        set { fatalError() }
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray? = nil

    public init(multiArray: MLMultiArray) {}
    public init(pixelBuffer: CVPixelBuffer) {}
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    public let featureNames: Set<String> = []

    public init(dictionary: [String: Any]) throws {}
    public func featureValue(for featureName: String) -> MLFeatureValue? { nil }
}

public final class MLModel {
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider { input }
    @available(iOS 17.0, macOS 14.0, *)
    public func prediction(from input: MLFeatureProvider) async throws -> MLFeatureProvider { input }
}
